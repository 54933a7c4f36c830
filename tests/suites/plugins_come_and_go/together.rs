//! Packages of plugins whose instances share a process.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::rig::{Rig, text};

/// Shares one process, on the bare wire: the process link opens instances, and each has a thread with a link of its own.
const SHARED: &str = r#"
import hashlib, json, os, socket, threading
VERSION, MODE = "@version@", "@mode@"
def send(link, **message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
if MODE == "crash":
    raise NameError("name 'Rply' is not defined")
def serve(link, name):
    number = 0
    for line in link.makefile("rb"):
        message = json.loads(line)
        method, request, params = message.get("method"), message.get("id"), message.get("params")
        if method == "initialize":
            send(link, id=request, result={"manifest": {"plugin": {"id": "guest", "version": VERSION}},
                 "protocol": "trunkline/1.0", "accepts": {"events": 8, "bytes": 1 << 20}})
        elif method == "broker.event":
            event, number = params["event"], number + 1
            said = {"number": event["payload"]["number"], "version": VERSION}
            send(link, id=1000 + number, method="broker.commit", params={"ack": [params["delivery"]["id"]], "events": [
                {"topic": "plugin.inbound.guest." + name, "on_conflict": "keep_first",
                 "event": {"id": hashlib.sha256(event["id"].encode()).hexdigest(), "session_id": "s", "payload": said}}]})
        elif method == "ping":
            send(link, id=request, result={"loop_lag_ms": 0, "in_flight": 0})
        elif method is not None and request is not None:
            send(link, id=request, result={"ok": True})
            if method == "instance.activate" and MODE == "fatal:" + name:
                send(link, method="instance.status", params={"state": "fatal", "reason": "no such mailbox"})
            elif method == "instance.activate":
                send(link, method="instance.status", params={"state": "ready"})
            elif method == "shutdown":
                break
    link.close()
process = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
process.set_inheritable(False)
for line in process.makefile("rb"):
    message = json.loads(line)
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if method == "instance.open":
        link = socket.socket(socket.AF_UNIX)
        link.connect(params["address"])
        send(link, id=1, method="connect", params={"role": "plugin", "token": params["token"],
             "instance": params["instance"], "protocol": {"name": "trunkline", "min": "1.0", "max": "1.0"},
             "manifest": {"plugin": {"id": "guest", "version": VERSION}}})
        threading.Thread(target=serve, args=(link, params["instance"]), daemon=True).start()
        send(process, id=request, result={})
    elif method == "ping":
        send(process, id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif method is not None and request is not None:
        send(process, id=request, result={})
        if method == "shutdown":
            break
"#;

fn source(rig: &Rig, version: &str, mode: &str) -> PathBuf {
    let dir = rig.path(&format!("shared-{version}-{}", mode.replace(':', "-")));
    std::fs::create_dir_all(&dir).unwrap();
    let program = SHARED.replace("@version@", version).replace("@mode@", mode);
    std::fs::write(dir.join("main.py"), program).unwrap();
    let manifest = format!(
        "[plugin]\nid = \"guest\"\nversion = \"{version}\"\ncommand = [\"python3\", \"main.py\"]\n\
         isolation = \"shared\"\n[[channels]]\nkind = \"guest\"\n\
         [supervisor]\nstart_timeout = \"5s\"\nstop_timeout = \"8s\"\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
    dir
}

fn upgrade(from: &Path) -> [&str; 5] {
    ["plugins", "upgrade", "guest", "--from", text(from)]
}

/// Proves L9: instances that share a process go back together: where the new process, or one of them in it, does not
/// serve, the old process is started again from the old package, which stays the installed one, and the error says so.
#[test]
fn a_shared_process_goes_back_when_the_new_one_is_no_good() {
    let mut rig = Rig::start();
    let one = source(&rig, "1.0.0", "good");
    rig.cli(&["plugins", "add", text(&one)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n[[plugins.guest]]\ninstance = \"b\"\n");
    rig.reload();
    let both = |rig: &mut Rig| (rig.ask("guest", "a"), rig.ask("guest", "b"));
    assert_eq!(both(&mut rig), ("1.0.0".into(), "1.0.0".into()));
    let pid = rig.instance("guest", "a")["pid"].clone();
    assert_eq!(rig.instance("guest", "b")["pid"], pid, "one process");

    let before = (rig.locked(), rig.directories());
    for (mode, why) in [("crash", "Rply"), ("fatal:b", "no such mailbox")] {
        let bad = source(&rig, "2.0.0", mode);
        let said = rig.cli(&upgrade(&bad)).refused("unavailable", why);
        let words = "the old process is back, at 1.0.0";
        assert!(said.stderr.contains(words), "{}", said.stderr);
        let words = "guest stays at 1.0.0";
        assert!(said.stderr.contains(words), "{}", said.stderr);
        let number = rig.tell("guest", "b", json!({}));
        assert_eq!(rig.hear(number), "1.0.0", "{mode}");
        assert_eq!(rig.ask("guest", "a"), "1.0.0", "{mode}");
        assert_eq!((rig.locked(), rig.directories()), before, "{mode}");
        assert_eq!(rig.listed("guest")["version"], "1.0.0", "{mode}");
    }
    let good = source(&rig, "3.0.0", "good");
    let said = rig.cli(&upgrade(&good)).ok();
    let line = "guest/b  1.0.0 → 3.0.0  shared";
    assert!(said.stdout.contains(line), "{}", said.stdout);
    assert_eq!(both(&mut rig), ("3.0.0".into(), "3.0.0".into()));
    assert_eq!(rig.locked()["guest"]["version"], "3.0.0");
    assert_eq!(rig.directories().len(), 1, "{:?}", rig.directories());
    rig.check_neighbour();
}
