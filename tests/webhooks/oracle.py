"""Signs and checks webhooks with the packages of the providers: a list of cases on stdin, a list of answers on stdout.

A case is {"do": "sign" | "verify", "by", "secret", "url", "headers", "body", "id", "timestamp"}; the answer to
"sign" is the headers to send, to "verify" whether the package takes the request. Telegram and Meta have no package
that checks: the language's own hmac does it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl

import nacl.exceptions
import nacl.signing
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from stripe import SignatureVerificationError, WebhookSignature
from twilio.request_validator import RequestValidator, get_signature_algorithm

Case = dict[str, Any]


class Form:
    """The fields of a form, with a list for each name, as web frameworks give them."""

    def __init__(self, body: str) -> None:
        self.pairs = parse_qsl(body, keep_blank_values=True)

    def __iter__(self) -> Any:
        return iter([name for name, _ in self.pairs])

    def __len__(self) -> int:
        return len(self.pairs)

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]


def pair(case: Case, secret: str) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(bytes.fromhex(secret))


def checked(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        nacl.signing.VerifyKey(key).verify(message, signature)
    except (nacl.exceptions.BadSignatureError, ValueError, TypeError):
        return False
    return True


def at(case: Case) -> datetime:
    return datetime.fromtimestamp(case["timestamp"], tz=timezone.utc)


def standard_sign(case: Case) -> dict[str, str]:
    signature = Webhook(case["secret"]).sign(case["id"], at(case), case["body"])
    return standard_headers(case, signature)


def standard_headers(case: Case, signature: str) -> dict[str, str]:
    return {"webhook-id": case["id"], "webhook-timestamp": str(case["timestamp"]), "webhook-signature": signature}


def standard_verify(case: Case) -> bool:
    try:
        Webhook(case["secret"]).verify(case["body"], case["headers"], json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def signed_by_standard(case: Case) -> bytes:
    headers = case["headers"]
    return f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{case['body']}".encode()


def v1a_sign(case: Case) -> dict[str, str]:
    headers = standard_headers(case, "")
    message = signed_by_standard({**case, "headers": headers})
    key = nacl.signing.SigningKey(base64.b64decode(case["secret"].removeprefix("whsk_"))[:32])
    signature = base64.b64encode(key.sign(message).signature).decode()
    return {**headers, "webhook-signature": f"v1a,{signature}"}


def v1a_verify(case: Case) -> bool:
    key = nacl.signing.SigningKey(base64.b64decode(case["secret"].removeprefix("whsk_"))[:32]).verify_key.encode()
    signature = case["headers"]["webhook-signature"].removeprefix("v1a,")
    try:
        decoded = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    return checked(key, signed_by_standard(case), decoded)


def discord_sign(case: Case) -> dict[str, str]:
    message = f"{case['timestamp']}{case['body']}".encode()
    signature = pair(case, case["secret"]).sign(message).signature.hex()
    return {"x-signature-ed25519": signature, "x-signature-timestamp": str(case["timestamp"])}


def discord_verify(case: Case) -> bool:
    headers = case["headers"]
    message = f"{headers['x-signature-timestamp']}{case['body']}".encode()
    try:
        signature = bytes.fromhex(headers["x-signature-ed25519"])
    except ValueError:
        return False
    return checked(pair(case, case["secret"]).verify_key.encode(), message, signature)


def stripe_sign(case: Case) -> dict[str, str]:
    header = WebhookSignature.generate_signature_header(case["body"], case["secret"], case["timestamp"])
    return {"stripe-signature": header}


def stripe_verify(case: Case) -> bool:
    try:
        header = case["headers"]["stripe-signature"]
        return WebhookSignature.verify_header(case["body"], header, case["secret"], tolerance=300)
    except SignatureVerificationError:
        return False


def slack_sign(case: Case) -> dict[str, str]:
    timestamp = str(case["timestamp"])
    signature = SignatureVerifier(case["secret"]).generate_signature(timestamp=timestamp, body=case["body"])
    return {"x-slack-signature": str(signature), "x-slack-request-timestamp": timestamp}


def slack_verify(case: Case) -> bool:
    try:
        return SignatureVerifier(case["secret"]).is_valid_request(case["body"], case["headers"])
    except ValueError:
        return False


def twilio_parts(case: Case) -> tuple[Any, str]:
    headers = case["headers"]
    form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    algorithm = get_signature_algorithm(headers.get("x-twilio-webhooks-signature-settings"))
    return (Form(case["body"]) if form else case["body"]), algorithm


def twilio_sign(case: Case) -> dict[str, str]:
    params, algorithm = twilio_parts(case)
    params = params if isinstance(params, Form) else {}
    return {"x-twilio-signature": RequestValidator(case["secret"]).compute_signature(case["url"], params, algorithm)}


def twilio_verify(case: Case) -> bool:
    params, algorithm = twilio_parts(case)
    signature = case["headers"]["x-twilio-signature"]
    return RequestValidator(case["secret"]).validate(case["url"], params, signature, algorithm)


def telegram_sign(case: Case) -> dict[str, str]:
    return {"x-telegram-bot-api-secret-token": case["secret"]}


def telegram_verify(case: Case) -> bool:
    found = case["headers"]["x-telegram-bot-api-secret-token"]
    return hmac.compare_digest(found.encode(), case["secret"].encode())


def meta_sign(case: Case) -> dict[str, str]:
    made = hmac.new(case["secret"].encode(), case["body"].encode(), hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={made}"}


def meta_verify(case: Case) -> bool:
    expected = meta_sign(case)["x-hub-signature-256"]
    return hmac.compare_digest(expected.encode(), case["headers"]["x-hub-signature-256"].encode())


SIGN = {
    "standard": standard_sign, "v1a": v1a_sign, "discord": discord_sign, "stripe": stripe_sign, "slack": slack_sign,
    "twilio": twilio_sign, "telegram": telegram_sign, "meta": meta_sign,
}
VERIFY = {
    "standard": standard_verify, "v1a": v1a_verify, "discord": discord_verify, "stripe": stripe_verify,
    "slack": slack_verify, "twilio": twilio_verify, "telegram": telegram_verify, "meta": meta_verify,
}

answers = [(SIGN if case["do"] == "sign" else VERIFY)[case["by"]](case) for case in json.load(sys.stdin)]
json.dump(answers, sys.stdout)
