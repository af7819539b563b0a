// client HOST USER exec COMMAND: logs in with Go's golang.org/x/crypto/ssh, which tries "none" first and
// then the password, and is the command's streams and exit status. The host key is the one that
// `mesh known-hosts` prints.
package main

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/crypto/ssh"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[4]); err != nil {
		if exit, ok := err.(*ssh.ExitError); ok {
			os.Exit(exit.ExitStatus())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
}

func run(host, user, command string) error {
	known, err := exec.Command("mesh", "known-hosts", host).Output()
	if err != nil {
		return err
	}
	_, _, key, _, _, err := ssh.ParseKnownHosts(known)
	if err != nil {
		return err
	}
	config := &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.Password("unused")},
		HostKeyCallback:   ssh.FixedHostKey(key),
		HostKeyAlgorithms: []string{key.Type()},
		BannerCallback: func(message string) error {
			_, err := fmt.Fprint(os.Stderr, message)
			return err
		},
	}
	client, err := ssh.Dial("tcp", host+":22", config)
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	session.Stdin, session.Stdout, session.Stderr = os.Stdin, os.Stdout, os.Stderr
	return session.Run(command)
}
