"""libssh_client.py METHOD HOST USER exec COMMAND|get PATH, by ssh-python, a binding to libssh.

METHOD is none or password.
"""

import socket
import sys

from ssh import options
from ssh.exceptions import BaseSSHError
from ssh.session import Session

method, host, user, action, argument = sys.argv[1:]


def execute(session):
    channel = session.channel_new()
    channel.open_session()
    channel.request_exec(argument)
    content = sys.stdin.buffer.read()
    while content:
        code, written = channel.write(content[:32768])
        content = content[32768:]
    channel.send_eof()
    size, data = channel.read(65536)
    while size > 0:
        sys.stdout.buffer.write(data)
        size, data = channel.read(65536)
    sys.stdout.buffer.flush()
    return channel.get_exit_status()


def run():
    connection = socket.create_connection((host, 22))
    session = Session()
    session.options_set(options.USER, user)
    session.options_set(options.HOST, host)
    session.set_socket(connection)
    session.connect()
    try:
        session.userauth_none() if method == "none" else session.userauth_password(user, "unused")
    except BaseSSHError:
        try:
            sys.stderr.write(str(session.get_issue_banner()))
        except BaseSSHError:
            pass
        raise
    if action == "exec":
        return execute(session)
    sftp = session.sftp_new()
    sftp.init()
    with sftp.open(argument, 0, 0) as file:
        for _, data in file:
            sys.stdout.buffer.write(data)
    return 0


try:
    status = run()
except (BaseSSHError, OSError) as error:
    print(error, file=sys.stderr)
    status = 255
sys.exit(status)
