"""A plugin with an HTTP server of its own, without an SDK: the wire contract and the standard library."""

import base64
import hashlib
import http.server
import json
import os
import socket
import struct
import threading

if os.path.exists("gate"):
    # Held here until somebody opens the other end.
    open("gate").read()

go = threading.Event()
health = {"status": 200}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=60")
        self.send_header("Connection", "keep-alive, X-Hop")
        self.send_header("X-Hop", "1")
        self.end_headers()
        self.wfile.write(body)

    def begin_chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def chunks_of_request(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self.answer({}, health["status"])
        elif path == "/stream":
            go.clear()
            self.begin_chunks()
            self.chunk(b"first")
            go.wait(30)
            self.chunk(b"second")
            self.chunk(b"")
        elif path == "/die":
            os._exit(3)
        elif path == "/hang":
            threading.Event().wait(60)
        elif path == "/ws":
            self.websocket()
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer({"path": self.path, "headers": headers, "pid": os.getpid()})

    def do_POST(self):
        if self.path == "/echo":
            self.begin_chunks()
            for data in self.chunks_of_request():
                self.chunk(data)
            self.chunk(b"")
            return
        if self.path == "/slow":
            go.clear()
            go.wait(30)
            left = int(self.headers["Content-Length"])
            count = 0
            while count < left:
                count += len(self.rfile.read(min(1 << 16, left - count)))
            self.answer({"bytes": count})
            return
        if self.path == "/go":
            go.set()
        elif self.path == "/sick":
            health["status"] = 500
        elif self.path == "/well":
            health["status"] = 200
        self.answer({})

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            mask = self.rfile.read(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(length)))
            size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
            self.wfile.write(head[:1] + size + data)
            if head[0] & 15 == 8:
                return


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=int(os.environ["TRUNKLINE_HTTP_FD"]))
        self.socket.set_inheritable(False)


link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)


def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def serve():
    Server().serve_forever()


for line in link.makefile("rb"):
    message = json.loads(line)
    method, request = message.get("method"), message.get("id")
    if method == "initialize":
        identity = {"plugin": {"id": "board", "version": "0.1.0"}}
        send(id=request, result={"manifest": identity, "protocol": "trunkline/1.0"})
    elif method == "instance.activate":
        threading.Thread(target=serve, daemon=True).start()
        send(id=request, result={})
        send(method="instance.status", params={"state": "ready"})
    elif method == "shutdown":
        send(id=request, result={"ok": True})
        break
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif request is not None:
        send(id=request, result={})
os._exit(0)
