"""paramiko_client.py METHOD HOST USER exec COMMAND|put PATH|get PATH

METHOD is none, password or publickey: SSHClient never tries "none" by itself.
"""

import subprocess
import sys
import threading

import paramiko

method, host, user, action, argument = sys.argv[1:]


def strategy():
    if method == "none":
        return {"auth_strategy": NoneStrategy(paramiko.SSHConfig())}
    if method == "password":
        return {"password": "unused", "allow_agent": False, "look_for_keys": False}
    key = paramiko.ECDSAKey.generate()
    return {"pkey": key, "allow_agent": False, "look_for_keys": False}


class NoneStrategy(paramiko.auth_strategy.AuthStrategy):
    def get_sources(self):
        yield paramiko.auth_strategy.NoneAuth(user)


def execute(client):
    channel = client.get_transport().open_session()
    channel.exec_command(argument)
    sender = threading.Thread(target=send, args=(channel,))
    sender.start()
    while data := channel.recv(65536):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    sender.join()
    return channel.recv_exit_status()


def send(channel):
    channel.sendall(sys.stdin.buffer.read())
    channel.shutdown_write()


def run():
    client = paramiko.SSHClient()
    for line in subprocess.check_output(["mesh", "known-hosts", host], text=True).splitlines():
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
        for name in entry.hostnames:
            client.get_host_keys().add(name, entry.key.get_name(), entry.key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    # SSHClient forgets a transport that has ended, which in turn denies that it had a banner.
    transports = []

    def transport(*arguments, **options):
        transports.append(paramiko.Transport(*arguments, **options))
        return transports[0]

    try:
        client.connect(host, username=user, transport_factory=transport, **strategy())
    except paramiko.SSHException:
        sys.stderr.write((transports[0].auth_handler.banner or b"").decode())
        raise
    if action == "exec":
        return execute(client)
    sftp = client.open_sftp()
    if action == "put":
        sftp.putfo(sys.stdin.buffer, argument)
    else:
        sftp.getfo(argument, sys.stdout.buffer)
    client.close()
    return 0


try:
    status = run()
except (paramiko.SSHException, OSError, EOFError) as error:
    print(error, file=sys.stderr)
    status = 255
sys.exit(status)
