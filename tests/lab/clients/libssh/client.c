/* client HOST USER exec COMMAND|get PATH: logs in with libssh by "none". exec is the command's
 * streams and exit status, get prints a file. */
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(ssh_session session, const char *what)
{
    char *banner = ssh_get_issue_banner(session);

    if (banner != NULL)
        fprintf(stderr, "%s", banner);
    fprintf(stderr, "%s: %s\n", what, ssh_get_error(session));
    return 255;
}

static int get(ssh_session session, const char *path)
{
    char buffer[32768];
    ssize_t length;
    sftp_session sftp = sftp_new(session);
    sftp_file file;

    if (sftp == NULL || sftp_init(sftp) != SSH_OK)
        return fail(session, "sftp");
    file = sftp_open(sftp, path, O_RDONLY, 0);
    if (file == NULL)
        return fail(session, "open");
    while ((length = sftp_read(file, buffer, sizeof(buffer))) > 0)
        if (write(1, buffer, length) != length)
            return 255;
    sftp_close(file);
    sftp_free(sftp);
    return length < 0 ? 255 : 0;
}

static int run(ssh_session session, const char *command)
{
    char buffer[65536];
    int length;
    ssh_channel channel = ssh_channel_new(session);

    if (channel == NULL || ssh_channel_open_session(channel) != SSH_OK ||
        ssh_channel_request_exec(channel, command) != SSH_OK)
        return fail(session, "exec");
    while ((length = read(0, buffer, sizeof(buffer))) > 0)
        if (ssh_channel_write(channel, buffer, length) != length)
            return fail(session, "write");
    ssh_channel_send_eof(channel);
    while ((length = ssh_channel_read(channel, buffer, sizeof(buffer), 0)) > 0)
        if (write(1, buffer, length) != length)
            return 255;
    return ssh_channel_get_exit_status(channel);
}

int main(int argc, char **argv)
{
    int log = SSH_LOG_NOLOG, status;
    ssh_session session = ssh_new();

    if (argc != 5 || session == NULL)
        return 64;
    ssh_options_set(session, SSH_OPTIONS_LOG_VERBOSITY, &log);
    ssh_options_set(session, SSH_OPTIONS_HOST, argv[1]);
    ssh_options_set(session, SSH_OPTIONS_USER, argv[2]);
    if (ssh_connect(session) != SSH_OK)
        return fail(session, "connect");
    if (ssh_userauth_none(session, NULL) != SSH_AUTH_SUCCESS)
        return fail(session, "log in");
    status = strcmp(argv[3], "get") == 0 ? get(session, argv[4]) : run(session, argv[4]);
    ssh_disconnect(session);
    ssh_free(session);
    return status;
}
