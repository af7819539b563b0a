"""The ends of forwarded connections, and who types at a terminal.

serve PORT: for each connection a byte that says what to do: E(cho), S(ource), D(iscard).
ask PORT WHAT: the seconds to be sent the file (S) or to send it (D).
echo PORT COUNT: the median time of a round trip of one byte, in microseconds.
keys COUNT COMMAND...: the same for a letter that a terminal behind the command echoes."""
import socket, statistics, subprocess, sys, threading, time

PIECE = 1 << 20

def discard(connection):
    room = bytearray(PIECE)
    total = 0
    while got := connection.recv_into(room):
        total += got
    return total

def source(connection):
    with open("/dev/shm/bulk", "rb") as file:
        connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)

def echo(connection):
    while got := connection.recv(64):
        connection.sendall(got)

def serve_one(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    what = connection.recv(1)
    if what == b"E":
        echo(connection)
    elif what == b"S":
        source(connection)
    else:
        connection.sendall(b"%d\n" % discard(connection))
    connection.close()

def serve(port):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

def connect(port, what):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(what)
    return connection

def ask(port, what):
    start = time.perf_counter()
    connection = connect(port, what)
    if what == b"S":
        assert discard(connection) > 0
    else:
        source(connection)
        assert int(connection.recv(64)) > 0
    print(time.perf_counter() - start)

def median_of_trips(count, send, receive):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        send(b"x")
        assert receive() == b"x"
        times.append(time.perf_counter() - start)
    print(statistics.median(times) * 1e6)

def keys(count, command):
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as ssh:
        while not ssh.stdout.read(64).endswith(b"ready\r\n"):
            pass
        median_of_trips(count, ssh.stdin.write, lambda: ssh.stdout.read(64))
        ssh.kill()

match sys.argv[1:]:
    case ["serve", port]:
        serve(int(port))
    case ["ask", port, what]:
        ask(int(port), what.encode())
    case ["echo", port, count]:
        connection = connect(int(port), b"E")
        median_of_trips(int(count), connection.sendall, lambda: connection.recv(64))
    case ["keys", count, *command]:
        keys(int(count), command)
