"""questions.py HOST PORT USER [KEY]: asks an SSH server what a well-meaning client never would,
and prints its answers, one line each, as NAME: ANSWER.

Each question has a connection of its own, or channels of one; messages go out as they are written
here, and every answer is kept, also those that a library would hide.
"""

import asyncio
import re
import sys

import asyncssh
from asyncssh.packet import Boolean, Byte, SSHPacketHandler, String, UInt32

HOST, PORT, USER, *KEYS = sys.argv[1:]

# How long one question may take, and how many are asked at a time.
DEADLINE = 40
AT_ONCE = 4

ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = range(93, 101)
WINDOW = 1 << 21
ANSWERS = {}
FAILED = []


class Refused(Exception):
    """A channel was not opened."""


class Channel(SSHPacketHandler):
    """A channel that keeps what comes, in its order."""

    def __init__(self, connection):
        self.connection = connection
        self.number = connection.add_channel(self)
        self.peer, self.window = None, 0
        self.output, self.errors, self.end = b"", b"", []
        self.replies, self.has_closed, self.is_closing = [], False, False
        self.news = asyncio.Event()

    @property
    def logger(self):
        return self.connection.logger

    async def open(self, kind, *fields):
        self.connection.send_packet(90, String(kind), UInt32(self.number), UInt32(WINDOW),
                                    UInt32(32768), *fields)
        await self.until(lambda: self.peer is not None)
        if isinstance(self.peer, Exception):
            self.connection.remove_channel(self.number)
            raise self.peer
        return self

    def process_open_confirmation(self, number, window, _most, _packet):
        self.peer, self.window = number, window
        self.news.set()

    def process_open_failure(self, code, reason, _language):
        self.peer = Refused(f"code {code}, {reason}")
        self.news.set()

    def process_connection_close(self, _reason):
        self.end.append("disconnected")
        if self.peer is None:
            self.peer = Refused("disconnected")
        self.has_closed = True
        self.news.set()

    def process_packet(self, kind, _number, packet):
        if kind == ADJUST:
            self.window += packet.get_uint32()
        elif kind == DATA:
            self.output += self.take(packet)
        elif kind == EXTENDED:
            packet.get_uint32()
            self.errors += self.take(packet)
        elif kind == EOF:
            self.end.append("eof")
        elif kind == REQUEST:
            self.end.append(request(packet))
        elif kind in (SUCCESS, FAILURE):
            self.replies.append(kind == SUCCESS)
        elif kind == CLOSE:
            self.close()
            self.has_closed = True
            self.connection.remove_channel(self.number)
        self.news.set()
        return True

    def take(self, packet):
        data = packet.get_string()
        self.send(ADJUST, UInt32(len(data)))
        return data

    def send(self, kind, *fields):
        self.connection.send_packet(kind, UInt32(self.peer), *fields)

    def close(self):
        if not self.is_closing:
            self.is_closing = True
            self.send(CLOSE)

    async def until(self, is_so):
        while not is_so():
            self.news.clear()
            await self.news.wait()

    async def ask(self, name, *fields):
        """Makes a request and returns its reply; None when the channel has closed instead."""
        self.send(REQUEST, String(name), Boolean(True), *fields)
        expected = len(self.replies) + 1
        await self.until(lambda: len(self.replies) >= expected or self.has_closed)
        return self.replies[expected - 1] if len(self.replies) >= expected else None

    async def type(self, data):
        while data and not self.has_closed:
            await self.until(lambda: self.window > 0 or self.has_closed)
            piece = data[: min(self.window, 32768)]
            self.window -= len(piece)
            data = data[len(piece) :]
            if not self.has_closed:
                self.send(DATA, String(piece))
            await asyncio.sleep(0)

    async def shows(self, text):
        await self.until(lambda: text in self.output or self.has_closed)

    async def over(self):
        """All that came. Which of exit and eof is first is a matter of luck with sshd."""
        await self.until(lambda: self.has_closed)
        said = [shown(self.output)] + ([f"errors {shown(self.errors)}"] if self.errors else [])
        return ", ".join(said + sorted(self.end))


def shown(data):
    return ascii(data)[1:] if len(data) < 2000 else f"{len(data)} bytes"


def request(packet):
    name, _reply = packet.get_string().decode(), packet.get_boolean()
    if name == "exit-status":
        return f"exit {packet.get_uint32()}"
    if name == "exit-signal":
        signal, core = packet.get_string().decode(), packet.get_boolean()
        rest = packet.get_string(), packet.get_string()
        return f"killed by {signal}, core {core}, message {rest[0]!r}, language {rest[1]!r}"
    return f"request {name}"


async def connect():
    options = {"username": USER, "known_hosts": None, "config": None, "agent_path": None,
               "client_keys": KEYS or None}
    return await asyncssh.connect(HOST, int(PORT), **options)


async def session(connection):
    return await Channel(connection).open(b"session")


async def run(connection, command):
    channel = await session(connection)
    assert await channel.ask(b"exec", String(command)), command
    return channel


async def result(connection, command):
    return await (await run(connection, command)).over()


async def on_terminal(connection, command, modes=b"\0", term=b"xterm", size=(80, 24, 0, 0)):
    channel = await session(connection)
    fields = String(term), *map(UInt32, size), String(modes)
    assert await channel.ask(b"pty-req", *fields)
    assert await channel.ask(b"exec", String(command))
    return channel


def encoded(modes):
    return b"".join(Byte(opcode) + UInt32(value) for opcode, value in modes) + b"\0"


QUESTIONS = []


def question(ask):
    QUESTIONS.append(ask)
    return ask


async def all_of(connection, asked):
    """Asks many things by channels of one connection, some at a time."""
    room = asyncio.Semaphore(3)

    async def one(name, ask):
        async with room:
            ANSWERS[name] = await ask(connection)

    await asyncio.gather(*(one(name, ask) for name, ask in asked.items()))


def commands(table):
    return {name: lambda c, command=command: result(c, command) for name, command in table.items()}


@question
async def statuses(c):
    codes = {f"exit {code}": f"exit {code}" for code in (0, 1, 7, 126, 127, 128, 255)}
    await all_of(c, commands(codes | {
        "exit 256": "exit 256",
        "no such command": "no-such-command",
        "a command that is none": "/etc/passwd",
        "a directory": "/etc",
        "killed in a shell": "exec 2>&-; sh -c 'kill -KILL $$'; exit $?",
        "stopped and continued": "(sleep 0.2; kill -CONT $$) & kill -STOP $$; exit 6",
        "an empty command": "",
        "a syntax error": "if",
    }))


@question
async def deaths(c):
    ends = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31,
            34, 50, 64]
    await all_of(c, commands({f"death by {n}": f"kill -{n} $$" for n in ends} | {
        "death with a core dump": "cd /tmp; ulimit -c unlimited; LC_ALL=C exec perl -e 'kill SEGV => $$'",
    }))


SIGNALS = ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "PIPE", "QUIT", "SEGV", "USR1", "USR2", "TERM"]
CATCH = ("export LC_ALL=C; exec perl -e '$| = 1; for (qw(%s)) { my $n = $_; $SIG{$n} = sub { print \"got $n\\n\" } }"
         " print \"ready\\n\"; select undef, undef, undef, 1000 while 1'" % " ".join(SIGNALS))


@question
async def signals(c):
    channel = await run(c, CATCH)
    await channel.shows(b"ready")
    for name in ["NONSENSE", "SIGTERM", "term", "15", "WINCH"] + SIGNALS:
        ANSWERS[f"reply to signal {name}"] = await channel.ask(b"signal", String(name))
    await channel.shows(b"got TERM")
    channel.output = channel.output.replace(b"got HUP\n", b"")
    await channel.ask(b"signal", String("HUP"))
    await channel.shows(b"got HUP")
    got = channel.output.split()
    for name in SIGNALS:
        ANSWERS[f"signal {name} arrives"] = name.encode() in got
    await channel.ask(b"signal", String("KILL"))
    ANSWERS["signal KILL"] = (await channel.over()).split("', ")[-1]


@question
async def signals_to_groups(c):
    inner = CATCH.replace("exec perl", "perl") + " & " + CATCH
    channel = await run(c, inner)
    await channel.until(lambda: channel.output.count(b"ready") == 2)
    await channel.ask(b"signal", String("TERM"))
    await channel.until(lambda: channel.output.count(b"got TERM") == 2)
    await channel.ask(b"signal", String("KILL"))
    ANSWERS["a signal to a group"] = sorted((await channel.over()).split("\\n"))


@question
async def signals_on_terminals(c):
    channel = await on_terminal(c, "trap 'echo got; exit 3' TERM; echo ready; sleep 1000 & wait")
    await channel.shows(b"ready")
    await channel.ask(b"signal", String("TERM"))
    ANSWERS["a signal on a terminal"] = await channel.over()


@question
async def signals_before_and_after(c):
    channel = await session(c)
    ANSWERS["a signal before a program"] = await channel.ask(b"signal", String("TERM"))
    ANSWERS["a program after that signal"] = await channel.ask(b"exec", String("echo on; exec cat"))
    channel.send(EOF)
    ANSWERS["the end after that signal"] = await channel.over()


@question
async def signals_to_others(c):
    """The group has a process that is root's."""
    channel = await run(c, "sudo -n sleep 4321 </dev/null >/dev/null 2>&1 & echo ready; wait")
    await channel.shows(b"ready")
    look = "for n in $(seq 200); do pgrep -x -u root sleep >/dev/null && break; sleep 0.05; done"
    await result(c, look)
    await channel.ask(b"signal", String("KILL"))
    ANSWERS["a signal to a group with root in it"] = await channel.over()
    ANSWERS["root after that signal"] = await result(c, "pgrep -x -u root sleep | wc -l")
    await result(c, "sudo -n pkill -x sleep")


@question
async def signals_to_a_subsystem(c):
    channel = await session(c)
    await channel.ask(b"subsystem", String("sftp"))
    await channel.ask(b"signal", String("TERM"))
    await channel.type(UInt32(5) + b"\x01" + UInt32(3))
    await channel.until(lambda: len(channel.output) > 4 or channel.has_closed)
    ANSWERS["a subsystem after a signal"] = ascii(channel.output[4:9])


@question
async def breaks(c):
    caught = "stty -ignbrk brkint; trap 'echo got' INT; echo ready; read x; echo over"
    channel = await on_terminal(c, caught)
    await channel.shows(b"ready")
    ANSWERS["reply to a break"] = await channel.ask(b"break", UInt32(500))
    await channel.type(b"x\n")
    ANSWERS["a break"] = await channel.over()
    channel = await run(c, "read x; echo over")
    ANSWERS["reply to a break without a terminal"] = await channel.ask(b"break", UInt32(0))
    await channel.type(b"x\n")
    await channel.over()


FLAGS = [*range(30, 43), *range(50, 63), *range(70, 76), *range(90, 94)]
SPEEDS = [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400,
          57600, 115200, 230400, 12345]


def modes_to_ask():
    """No two flags have the same values in all of these."""
    all_modes = {"no modes": b"\0", "no end of modes": b"", "flags off": encoded((f, 0) for f in FLAGS),
                 "flags on": encoded((f, 1) for f in FLAGS),
                 "flags of other values": encoded((f, 77) for f in FLAGS)}
    for bit in range(6):
        for on in (0, 1):
            values = [(flag, (number >> bit & 1) ^ on) for number, flag in enumerate(FLAGS)]
            all_modes[f"flags by bit {bit} {on}"] = encoded(values)
    characters = range(1, 19)
    all_modes["characters"] = encoded((n, n + 32) for n in characters)
    all_modes["no characters"] = encoded((n, 255) for n in characters)
    all_modes["characters of zero"] = encoded((n, 0) for n in characters)
    for speed in SPEEDS:
        all_modes[f"speed {speed}"] = encoded([(128, speed), (129, speed)])
    all_modes["speeds that differ"] = encoded([(128, 9600), (129, 1200)])
    for opcode in (19, 29, 43, 63, 76, 94, 127, 130, 159):
        all_modes[f"unknown mode {opcode}"] = encoded([(opcode, 1), (53, 0)])
    for opcode in (160, 255):
        all_modes[f"mode of another form {opcode}"] = encoded([(opcode, 1), (53, 0)])
    return all_modes


@question
async def modes(c):
    def asked(value):
        async def ask(connection):
            return await (await on_terminal(connection, "stty -a", value)).over()
        return ask

    await all_of(c, {f"modes, {name}": asked(value) for name, value in modes_to_ask().items()})


SIZE = "LC_ALL=C perl -e 'ioctl(STDIN, 0x5413, $w = \"\\0\" x 8); print join(\" \", unpack(\"S4\", $w)), \"\\n\"'"


@question
async def sizes(c):
    for size in [(0, 0, 0, 0), (1, 1, 1, 1), (80, 24, 640, 480), (65535, 65535, 65535, 65535)]:
        ANSWERS[f"size {size}"] = await (await on_terminal(c, SIZE, size=size)).over()
    channel = await on_terminal(c, f"echo ready; read x; {SIZE}")
    await channel.shows(b"ready")
    await channel.ask(b"window-change", *map(UInt32, (132, 50, 1320, 1000)))
    await channel.type(b"x\n")
    ANSWERS["a changed size"] = await channel.over()


@question
async def terminal_types(c):
    for term in [b"", b"xterm-256color", b"a b;c", b"\xff\xfe", b"x" * 300]:
        channel = await on_terminal(c, "printf %s \"$TERM\" | od -An -c | head -3; env | grep -c ^TERM=",
                                    term=term)
        ANSWERS[f"terminal type {term[:20]!r}"] = await channel.over()


@question
async def raw_terminals(c):
    raw = encoded([(50, 0), (51, 0), (53, 0), (59, 0), (38, 0), (36, 0)])
    channel = await on_terminal(c, "echo ready; dd bs=1 count=4 2>/dev/null | od -An -c", raw)
    await channel.shows(b"ready")
    await channel.type(b"\x03\x04\r\x13")
    ANSWERS["keys on a raw terminal"] = await channel.over()


@question
async def cooked_terminals(c):
    channel = await on_terminal(c, "trap 'echo got; exit 3' INT; echo ready; sleep 1000 & wait")
    await channel.shows(b"ready")
    await channel.type(b"\x03")
    ANSWERS["an interrupt typed"] = await channel.over()
    channel = await on_terminal(c, "cat; echo over >&2")
    await channel.type(b"line\n\x04")
    ANSWERS["an end of file typed"] = await channel.over()
    channel = await on_terminal(c, "cat; echo over")
    await channel.type(b"line\n")
    await channel.until(lambda: channel.output.count(b"line") == 2)
    channel.send(EOF)
    await channel.ask(b"signal", String("HUP"))
    ANSWERS["an end of input on a terminal"] = await channel.over()


@question
async def shells(c):
    for name, terminal in [("a shell", False), ("a shell on a terminal", True)]:
        channel = await session(c)
        if terminal:
            fields = String("xterm"), *map(UInt32, (80, 24, 0, 0)), String(b"\0")
            await channel.ask(b"pty-req", *fields)
        ANSWERS[f"{name}, reply"] = await channel.ask(b"shell")
        ANSWERS[f"{name}, a second one"] = await channel.ask(b"shell")
        ANSWERS[f"{name}, a command"] = await channel.ask(b"exec", String("echo second"))
        ANSWERS[f"{name}, a subsystem"] = await channel.ask(b"subsystem", String("sftp"))
        ANSWERS[f"{name}, a variable"] = await channel.ask(b"env", String("LC_X"), String("late"))
        await channel.type(b"echo \"<$0 $LC_X>\" >&2; exit 5\n")
        await channel.until(lambda: channel.has_closed)
        said = channel.output + channel.errors
        ANSWERS[f"{name}, what it is"] = re.findall(rb"^<.*>", said, re.MULTILINE)
        ANSWERS[f"{name}, its end"] = sorted(channel.end)


@question
async def requests(c):
    channel = await session(c)
    ANSWERS["an unknown subsystem"] = await channel.ask(b"subsystem", String("netconf"))
    ANSWERS["an unknown request"] = await channel.ask(b"nonsense")
    ANSWERS["an agent"] = await channel.ask(b"auth-agent-req@openssh.com")
    ANSWERS["X11"] = await channel.ask(
        b"x11-req", Boolean(False), String("MIT-MAGIC-COOKIE-1"), String("00" * 16), UInt32(0))
    channel.close()
    await channel.over()
    ANSWERS["a command after that"] = await result(c, "echo on")


@question
async def variables(c):
    channel = await session(c)
    asked = [("LANG", "C.UTF-8"), ("LC_TEST", "a"), ("LC_TEST", "b"), ("LC_BYTES", b"\xff\n="),
             ("LC_EMPTY", ""), ("LC_LONG", "x" * 5000), ("FOO", "no"), ("PATH", "/evil"),
             ("LD_PRELOAD", "/evil"), ("LC_A=B", "no"), ("", "no"), ("HOME", "/evil")]
    for name, value in asked:
        reply = await channel.ask(b"env", String(name), String(value))
        ANSWERS.setdefault(f"reply to variable {name}", reply)
    look = "env -0 | grep -zE '^(LANG|LC_|FOO|PATH|LD_|HOME)' | sort -z | tr '\\0' '\\n'"
    await channel.ask(b"exec", String(look))
    await channel.until(lambda: channel.has_closed)
    ANSWERS["variables"] = ascii(channel.output.replace(b"x" * 5000, b"long"))


@question
async def streams(c):
    await all_of(c, commands({
        "both outputs": "echo a; echo b >&2; echo c; exit 2",
        "much of both": "head -c 3000000 /dev/zero; head -c 2162688 /dev/zero >&2; exit 3",
        "outputs closed": "exec >&- 2>&-; exit 8",
        "errors closed": "exec 2>&-; echo on; exit 9",
        "output after a pause": "echo a; sleep 0.3; echo b; exit 1",
    }))
    channel = await run(c, "cat; echo over; exit 1")
    await channel.type(b"line\n")
    channel.send(EOF)
    ANSWERS["an end of input"] = await channel.over()
    channel = await run(c, "cat; echo over; exit 1")
    channel.send(EOF)
    ANSWERS["no input at all"] = await channel.over()
    channel = await run(c, "exec <&-; sleep 0.2; echo over; exit 2")
    await channel.type(b"x" * 1000000)
    ANSWERS["input that nobody takes"] = await channel.over()
    channel = await run(c, "exit 4")
    await channel.type(b"x" * 4000000)
    ANSWERS["an exit while input comes"] = await channel.over()
    channel = await run(c, "head -c 2000000 >/dev/null; echo enough; exit 5")
    await channel.type(b"x" * 4000000)
    ANSWERS["an exit after some input"] = await channel.over()
    channel = await run(c, "sha256sum")
    await channel.type(bytes(range(256)) * 16384)
    channel.send(EOF)
    ANSWERS["four megabytes of input"] = await channel.over()


async def left_behind(c, name, start):
    """A job of the background that holds the outputs, until it is told to end."""
    fifo = f"/tmp/{name.replace(' ', '-')}"
    await result(c, f"rm -f {fifo}; mkfifo {fifo}")
    job = f"trap '' HUP; (read x <{fifo}; echo late) & echo early; exit 4"
    channel = await start(c, job)
    await channel.until(lambda: any("exit" in end for end in channel.end) or channel.has_closed)
    told = "exit 4" in channel.end
    await result(c, "sleep 0.5")
    held = not channel.has_closed
    await result(c, f"timeout 10 sh -c 'echo go >{fifo}'")
    ANSWERS[name] = f"told {told}, held {held}: {await channel.over()}"


@question
async def background(c):
    await left_behind(c, "a job left behind", run)
    await left_behind(c, "a job left on a terminal", on_terminal)
    channel = await run(c, "nohup sleep 30 </dev/null >/dev/null 2>&1 & echo left")
    ANSWERS["a job that holds nothing"] = await channel.over()
    ANSWERS["that job"] = await result(c, "pkill -x -u alice sleep; echo $?")


async def try_to_open(c, kind, *fields):
    try:
        channel = await Channel(c).open(kind, *fields)
    except Refused as why:
        return f"refused: {why}"
    return channel


def direct(host, port):
    return String(host), UInt32(port), String("127.0.0.1"), UInt32(1)


@question
async def targets(c):
    """The first things on their connection: no session is needed for them."""
    channel = await try_to_open(c, b"direct-tcpip", *direct("127.0.0.1", 2222))
    await channel.shows(b"SSH-2.0")
    ANSWERS["a target"] = ascii(channel.output[:16])
    channel.close()
    for host, port in [("127.0.0.1", 1), ("localhost", 1), ("::1", 1), ("no-such-host.invalid", 1),
                       ("127.0.0.1", 0), ("", 1), ("300.1.1.1", 1), ("127.0.0.1", 70000)]:
        name = f"a target that is not there, {host} {port}"
        ANSWERS[name] = str(await try_to_open(c, b"direct-tcpip", *direct(host, port)))
    path = String("/nowhere/socket"), String(""), UInt32(0)
    ANSWERS["a socket that is not there"] = await try_to_open(
        c, b"direct-streamlocal@openssh.com", *path)
    path = String("/run/systemd/private"), String(""), UInt32(0)
    ANSWERS["a socket that is root's"] = await try_to_open(
        c, b"direct-streamlocal@openssh.com", *path)
    ANSWERS["an unknown kind of channel"] = await try_to_open(c, b"nonsense")


LATE = ("export LC_ALL=C; exec perl -MIO::Socket::INET -e '$| = 1; $l = IO::Socket::INET->new(Listen => 1, LocalAddr =>"
        " \"127.0.0.1:0\"); print $l->sockport, \"\\n\"; $s = $l->accept; $n += length while <$s>;"
        " print $s \"$n bytes\\n\"; close $s; print \"over\\n\"; <STDIN>'")


@question
async def half_closed(c):
    server = await run(c, LATE)
    await server.shows(b"\n")
    channel = await try_to_open(c, b"direct-tcpip", *direct("127.0.0.1", int(server.output)))
    await channel.type(b"x" * 100000)
    channel.send(EOF)
    ANSWERS["a target after the end of input"] = await channel.over()
    await server.shows(b"over")
    server.send(EOF)
    await server.over()


async def ask_global(c, name, *fields):
    kind, packet = await c._make_global_request(name, *fields)
    return "success" if kind == 81 else "failure", packet


@question
async def listeners(c):
    answer, packet = await ask_global(c, b"tcpip-forward", String("localhost"), UInt32(0))
    port = packet.get_uint32()
    ANSWERS["any port"] = f"{answer}, {port > 1023}"
    listening = f"ss -Htln 'sport = :{port}' | awk '{{print $4}}' | sed 's/:[0-9]*$//' | sort"
    ANSWERS["where it listens"] = await result(c, listening)
    twice = await ask_global(c, b"tcpip-forward", String("localhost"), UInt32(port))
    ANSWERS["the same port twice"] = twice[0]
    cancel = b"cancel-tcpip-forward", String("localhost"), UInt32(port)
    ANSWERS["the port given up"] = (await ask_global(c, *cancel))[0]
    ANSWERS["the port given up twice"] = (await ask_global(c, *cancel))[0]
    ANSWERS["where it listens then"] = await result(c, listening)
    for name, host, number in [("a privileged port", "localhost", 80), ("no host", "nowhere.invalid", 0),
                               ("a port too large", "localhost", 70000)]:
        said = await ask_global(c, b"tcpip-forward", String(host), UInt32(number))
        ANSWERS[f"listening at {name}"] = said[0]
    ANSWERS["an unknown global request"] = (await ask_global(c, b"nonsense@example.com"))[0]
    ANSWERS["a question whether it is there"] = (await ask_global(c, b"keepalive@openssh.com"))[0]


@question
async def the_end_of_listeners(c):
    _, packet = await ask_global(c, b"tcpip-forward", String("localhost"), UInt32(0))
    port = packet.get_uint32()
    c.abort()
    await c.wait_closed()
    again = await connect()
    look = f"for n in $(seq 100); do ss -Htln 'sport = :{port}' | grep -q . || exit 0; sleep 0.1; done; exit 1"
    ANSWERS["listeners after the connection"] = await result(again, look)
    again.close()


@question
async def many_sessions(c):
    opened = []
    try:
        for _ in range(12):
            opened.append(await session(c))
    except Refused as why:
        ANSWERS["one session too many"] = f"after {len(opened)}: {why}"
    opened[0].close()
    await opened[0].over()
    ANSWERS["a session after one has gone"] = await result(c, "echo on")


@question
async def no_more_sessions(c):
    first = await run(c, "cat")
    c.send_packet(80, String("no-more-sessions@openssh.com"), Boolean(False))
    try:
        await session(c)
        ANSWERS["a session after the last one"] = "opened"
    except Refused:
        ANSWERS["a session after the last one"] = "refused"
    await first.until(lambda: True)


async def answer(ask, room):
    async with room:
        try:
            async with asyncio.timeout(DEADLINE):
                connection = await connect()
                await ask(connection)
                connection.abort()
        except Exception as why:
            FAILED.append(f"{ask.__name__}: {type(why).__name__}: {why}")


async def main():
    room = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(answer(ask, room) for ask in QUESTIONS))
    for name, said in sorted(ANSWERS.items()):
        print(f"{name}: {said}")
    sys.exit("\n".join(FAILED) or 0)


asyncio.run(main())
