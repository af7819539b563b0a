/* A user database that behaves badly for accounts of certain names (nss(5)). */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* An account of the database, whose groups it cannot tell. */
enum nss_status _nss_lab_getpwnam_r(const char *name, struct passwd *out, char *buffer,
                                    size_t size, int *error) {
    static const char text[] = "dora\0x\0/\0/bin/bash";
    if (strcmp(name, "frozen") == 0)
        for (;;)
            pause();
    if (strcmp(name, "unknowable") == 0) {
        *error = EIO;
        return NSS_STATUS_UNAVAIL;
    }
    if (strcmp(name, "dora") != 0)
        return NSS_STATUS_NOTFOUND;
    if (size < sizeof text) {
        *error = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    memcpy(buffer, text, sizeof text);
    out->pw_name = buffer;
    out->pw_passwd = out->pw_gecos = buffer + 5;
    out->pw_dir = buffer + 7;
    out->pw_shell = buffer + 9;
    out->pw_uid = out->pw_gid = 2000;
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_lab_getgrgid_r(gid_t gid, struct group *out, char *buffer, size_t size,
                                    int *error) {
    (void)out, (void)buffer, (void)size;
    *error = EIO;
    return gid == 2000 ? NSS_STATUS_UNAVAIL : NSS_STATUS_NOTFOUND;
}

/* Asked for every account, after the files: slow, as a directory far away. */
enum nss_status _nss_lab_initgroups_dyn(const char *name, gid_t group, long *start, long *size,
                                        gid_t **groups, long limit, int *error) {
    (void)group, (void)start, (void)size, (void)groups, (void)limit, (void)error;
    if (strcmp(name, "bob") == 0)
        sleep(3);
    return NSS_STATUS_NOTFOUND;
}
