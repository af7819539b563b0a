"""asyncssh_client.py METHOD HOST USER exec COMMAND|put PATH|get PATH

METHOD is none, which asyncssh tries first, password or publickey.
"""

import asyncio
import subprocess
import sys

import asyncssh

method, host, user, action, argument = sys.argv[1:]


class Client(asyncssh.SSHClient):
    def auth_banner_received(self, msg, lang):
        sys.stderr.write(msg)


def options():
    known = subprocess.check_output(["mesh", "known-hosts", host])
    chosen = {"username": user, "known_hosts": asyncssh.import_known_hosts(known.decode()),
              "client_factory": Client, "agent_path": None, "client_keys": None, "config": None}
    if method == "password":
        chosen |= {"password": "unused", "preferred_auth": "password"}
    elif method == "publickey":
        key = asyncssh.generate_private_key("ssh-ed25519")
        chosen |= {"client_keys": [key], "preferred_auth": "publickey"}
    return chosen


async def run():
    async with asyncssh.connect(host, **options()) as connection:
        if action == "exec":
            content = sys.stdin.buffer.read()
            done = await connection.run(argument, input=content, encoding=None)
            sys.stdout.buffer.write(done.stdout)
            return done.exit_status
        async with connection.start_sftp_client() as sftp:
            if action == "put":
                async with sftp.open(argument, "wb") as file:
                    await file.write(sys.stdin.buffer.read())
            else:
                async with sftp.open(argument, "rb") as file:
                    sys.stdout.buffer.write(await file.read())
        return 0


try:
    status = asyncio.run(run())
except (asyncssh.Error, OSError) as error:
    print(error, file=sys.stderr)
    status = 255
sys.exit(status)
