"""The vectors of the contract, at the link of a Python plugin."""

from __future__ import annotations

import json
from typing import Any

import pytest
from daemon import ROOT
from peer import ECHO, Peer

VECTORS = ROOT / "contract" / "vectors"
# As many bad frames as a link takes without being closed.
FRAMES_PER_LINK = 40

assert VECTORS.is_dir(), (
    f"expected the vectors at {VECTORS}; hint: run check.sh, which says where the repository is"
)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (VECTORS / name).read_text().splitlines() if line]


def raw(vector: dict[str, Any]) -> bytes:
    if "frame_hex" in vector:
        return bytes.fromhex(vector["frame_hex"])
    return str(vector["frame"]).encode()


FRAMES = [each for each in lines("frames.jsonl") if each.get("method") != "shutdown"]
CHUNKS = [FRAMES[n : n + FRAMES_PER_LINK] for n in range(0, len(FRAMES), FRAMES_PER_LINK)]


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: chunk[0]["name"])
def test_frames_are_answered_as_the_vectors_say(chunk: list[dict[str, Any]]) -> None:
    """Proves W7, Python part: malformed frames get their error and end nothing."""
    with Peer(ECHO) as peer:
        peer.activate()
        for vector in chunk:
            frame = raw(vector)
            if b"\n" in frame or not frame.strip():
                continue
            peer.send_raw(frame + b"\n")
            peer.send(id="after", method="ping")
            found: list[tuple[dict[str, Any], bytes]] = []
            while (answer := peer.recv()).get("id") != "after":
                found.append((answer, peer.last))
            if vector["verdict"] == "fault":
                ((answer, _),) = found
                assert answer["error"]["code"] == vector["code"], vector
            elif vector["verdict"] == "request":
                ((answer, text),) = found
                assert f'"id":{vector["id"]}'.encode() in text, vector
            else:
                assert not found, vector
        peer.event("e1", {"n": 1})
        peer.commit()


def test_session_keys_are_those_of_the_vectors() -> None:
    """Proves W14, Python part: the ordering key is the contract's."""
    script = """
    import asyncio, json
    from trunkline import Event, PluginAdapter
    MANIFEST = '''
    [plugin]
    id = "echo"
    version = "0.1.0"
    command = ["python3", "echo.py"]
    [[channels]]
    kind = "echo"
    '''
    async def on_event(topic, event, broker):
        print("KEY", json.dumps([event.id, topic, event.session_id, event.session_key]))
    asyncio.run(PluginAdapter(manifest_toml=MANIFEST, on_event=on_event).run())
    """
    vectors = json.loads((VECTORS / "session_keys.json").read_text())
    with Peer(script) as peer:
        peer.activate()
        for n, vector in enumerate(vectors):
            peer.event(str(n), 1, topic=vector["topic"], session=vector.get("session_id"))
        acked: set[str] = set()
        while len(acked) < len(vectors):
            acked.update(peer.expect("broker.ack")["params"]["deliveries"])
        peer.close_link()
        assert peer.wait() == 0, peer.text()
        keys = [
            json.loads(line.removeprefix("KEY "))
            for line in peer.text().splitlines()
            if line.startswith("KEY ")
        ]
    assert len(keys) == len(vectors)
    for number, topic, session, key in keys:
        vector = vectors[int(number)]
        assert (topic, session) == (vector["topic"], vector.get("session_id"))
        assert key == vector["session_key"], vector
