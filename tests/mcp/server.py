"""An MCP server of others: FastMCP, on stdio, or with `http <port file>` on loopback. Ends with the word `exit`."""
import asyncio, os, socket, sys

from fastmcp import Context, FastMCP

server = FastMCP("others")
cancelled = 0


@server.tool
def addNumbers(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool
def say(text: str) -> str:
    """Says it again."""
    return text


@server.tool
def fails() -> str:
    """Always fails."""
    raise ValueError("the shelf is empty")


@server.tool
async def steps(context: Context) -> str:
    """Reports progress three times."""
    for done in (1, 2, 3):
        await context.report_progress(done, 3, f"step {done}")
        await asyncio.sleep(0.02)
    return "done"


@server.tool
async def hang(context: Context) -> str:
    """Never ends by itself."""
    global cancelled
    await context.report_progress(1)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled += 1
        raise


@server.tool
def cancels() -> int:
    """How many calls were cancelled."""
    return cancelled


@server.tool
def secret() -> str:
    """What the operator gave."""
    return os.environ.get("OTHERS_SECRET", "nothing")


@server.tool
def die() -> str:
    """Ends the server at once."""
    os._exit(3)


if sys.argv[1:2] == ["http"]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(sys.argv[2], "w") as file:
        file.write(str(port))
    server.run(transport="http", host="127.0.0.1", port=port, show_banner=False)
else:
    server.run(show_banner=False)
