"""Sends mail by SMTP."""

import smtplib
import ssl
from email.message import EmailMessage
from uuid import NAMESPACE_OID, uuid5

from trunkline import OutboundMessage, Plugin, Reject, Retry, SyncContext, run

plugin = Plugin("{{name}}")


def why(code: int, said: bytes | str, again: str) -> Retry | Reject:
    reason = f"the server said {code} {said!r}"
    return Retry(again, reason) if code < 500 else Reject(reason, code="delivery_failed")


@plugin.outbound("email", rate="5/s", timeout="1m")
def send(message: OutboundMessage, ctx: SyncContext) -> str:  # a plain def runs in a thread
    config, mail = ctx.config, EmailMessage()
    mail["From"], mail["To"] = config["from"], message.conversation.id
    mail["Subject"] = config["subject"]
    mail["Message-ID"] = f"<{uuid5(NAMESPACE_OID, ctx.idempotency_key)}.{config['from']}>"
    mail.set_content(message.text or "")
    try:
        with smtplib.SMTP(config["host"], config["port"], timeout=30) as server:
            if server.ehlo() and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
            if config["user"]:
                server.login(config["user"], config["password"])
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        raise why(*next(iter(refused.recipients.values())), config["again"]) from refused
    except smtplib.SMTPResponseException as refused:
        raise why(refused.smtp_code, refused.smtp_error, config["again"]) from refused
    return str(mail["Message-ID"])


if __name__ == "__main__":
    run(plugin)
