//! What a process gives up before it looks at anything that comes from outside: users, capabilities, files, system calls.
