//! Listeners, clients and their limits, security, TLS.

use super::super::setting::{Chapter, Kind, Setting};
use super::{COUNT, LONG_COUNT, NO_TLS, PORT, TEXT};

const ACCESS: Kind = Kind::Choice(&["no", "yes", "local"]);

pub(super) static NETWORK: Chapter = Chapter {
    section: "network",
    about: "Where the server listens.",
    settings: &[
        Setting::active("port", PORT, "6379", "TCP port; 0 means no TCP listener."),
        Setting::active(
            "bind",
            Kind::Addresses { max: 16 },
            "* -::*",
            "Addresses to listen on; `*` is all IPv4, `::*` all IPv6; a leading `-` skips an address that is \
             not available.",
        ),
        Setting::active(
            "protected-mode",
            Kind::Bool,
            "yes",
            "Refuse clients from other hosts while no password is set.",
        ),
        Setting::active("unixsocket", TEXT, "", "Path of a unix socket to listen on.").at_start(),
        Setting::active(
            "unixsocketperm",
            Kind::Octal { max: 0o777 },
            "0",
            "Permission bits of the unix socket; 0 leaves what the umask gives.",
        )
        .at_start(),
        Setting::active(
            "tcp-backlog",
            COUNT,
            "511",
            "Length of the queue of connections not accepted yet; the kernel cuts it to net.core.somaxconn.",
        )
        .at_start(),
        Setting::active(
            "tcp-keepalive",
            COUNT,
            "300",
            "Seconds between keep-alive probes of idle connections; 0 sends none.",
        ),
        Setting::inert(
            "bind-source-addr",
            TEXT,
            "",
            "Address that outgoing connections come from.",
            "torc opens no outgoing connections in this version",
        ),
        Setting::inert(
            "unixsocketgroup",
            TEXT,
            "",
            "Group that owns the unix socket.",
            "the socket belongs to the server's group",
        )
        .at_start(),
        Setting::inert(
            "socket-mark-id",
            Kind::Int { min: 0, max: u32::MAX as i64 },
            "0",
            "Mark on the packets of listening sockets.",
            "sockets are not marked",
        )
        .at_start(),
        Setting::inert(
            "max-new-connections-per-cycle",
            Kind::Int { min: 1, max: 1000 },
            "10",
            "Connections accepted per turn of the event loop.",
            "accepting is bounded by the ring's completion batch",
        ),
    ],
};

pub(super) static CLIENTS: Chapter = Chapter {
    section: "clients",
    about: "Limits on connections and their buffers.",
    settings: &[
        Setting::active(
            "maxclients",
            Kind::Int { min: 1, max: u32::MAX as i64 },
            "10000",
            "Connections over all shards; further ones get an error and are closed.",
        ),
        Setting::active(
            "timeout",
            COUNT,
            "0",
            "Close a client after this many seconds without a request; 0 never does.",
        ),
        Setting::active(
            "client-output-buffer-limit",
            Kind::OutputLimits,
            "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
            "Per class of client: hard limit, soft limit and seconds over the soft limit after which a slow \
             reader is disconnected; 0 is no limit.",
        ),
        Setting::active(
            "client-query-buffer-limit",
            Kind::Memory { min: 1 << 20, max: i64::MAX as u64 },
            "1gb",
            "Bytes of unfinished requests one client may have.",
        ),
        Setting::active(
            "proto-max-bulk-len",
            Kind::Memory { min: 1 << 20, max: i64::MAX as u64 },
            "512mb",
            "Longest argument and longest string value.",
        ),
        Setting::active(
            "maxmemory-clients",
            Kind::MemoryOrPercent,
            "0",
            "Memory of all clients together, or its share of `maxmemory`, from which on the largest are disconnected; 0 is \
             no limit.",
        ),
        Setting::active(
            "tracking-table-max-keys",
            LONG_COUNT,
            "1000000",
            "Keys of which CLIENT TRACKING remembers who has read them; beyond that, keys are forgotten at random, and \
             their readers told. 0 is no limit.",
        ),
        Setting::active(
            "notify-keyspace-events",
            Kind::EventFlags,
            "",
            "Keyspace events to publish, as letters: `K` and `E` for the channels `__keyspace@<db>__:<key>` and \
             `__keyevent@<db>__:<event>`, and the classes of events; `A` is all of these but `n` and `m`.",
        ),
    ],
};

pub(super) static SECURITY: Chapter = Chapter {
    section: "security",
    about: "Who may do what.",
    settings: &[
        Setting::active("requirepass", TEXT, "", "Password of the default user; empty means none.").secret(),
        Setting::active(
            "requirepass-file",
            TEXT,
            "",
            "File whose first line is the password, read at the start; `requirepass` comes first.",
        )
        .alias(&["requirepass_file"])
        .at_start()
        .own(),
        Setting::active(
            "enable-debug-command",
            ACCESS,
            "no",
            "Whether DEBUG is allowed: `no`, `yes`, or `local` for connections from this host.",
        )
        .at_start(),
        Setting::active(
            "enable-protected-configs",
            ACCESS,
            "no",
            "Whether CONFIG SET may change protected settings: `no`, `yes` or `local`.",
        )
        .at_start(),
        Setting::active(
            "enable-module-command",
            ACCESS,
            "no",
            "Whether MODULE LOAD, LOADEX and UNLOAD are let through: `no`, `yes` or `local`. They fail then, too: there are \
             no modules.",
        )
        .at_start(),
        Setting::refused(
            "aclfile",
            TEXT,
            "",
            "File with users.",
            "users are not available in this version; `requirepass` sets one password",
        )
        .at_start(),
        Setting::inert(
            "acllog-max-len",
            LONG_COUNT,
            "128",
            "Entries of ACL LOG.",
            "ACL LOG is not available in this version",
        ),
        Setting::inert(
            "acl-pubsub-default",
            Kind::Choice(&["allchannels", "resetchannels"]),
            "resetchannels",
            "Channels a new user may use.",
            "users are not available in this version",
        ),
        Setting::inert(
            "sanitize-dump-payload",
            Kind::Choice(&["no", "yes", "clients"]),
            "no",
            "Whether RESTORE checks payloads in depth.",
            "RESTORE always looks at every element",
        ),
        Setting::inert(
            "hide-user-data-from-log",
            Kind::Bool,
            "yes",
            "Keep keys and values out of the log.",
            "torc never writes keys or values to its log",
        ),
    ],
};

pub(super) static TLS: Chapter = Chapter {
    section: "tls",
    about: "Encrypted connections.",
    settings: &[
        Setting::refused("tls-port", PORT, "0", "TCP port for TLS; 0 means none.", NO_TLS),
        Setting::inert("tls-cert-file", TEXT, "", "Server certificate, PEM.", NO_TLS),
        Setting::inert("tls-key-file", TEXT, "", "Private key of the server certificate, PEM.", NO_TLS),
        Setting::inert("tls-key-file-pass", TEXT, "", "Passphrase of `tls-key-file`.", NO_TLS).secret(),
        Setting::inert("tls-client-cert-file", TEXT, "", "Certificate for outgoing connections.", NO_TLS),
        Setting::inert("tls-client-key-file", TEXT, "", "Private key for outgoing connections.", NO_TLS),
        Setting::inert("tls-client-key-file-pass", TEXT, "", "Passphrase of `tls-client-key-file`.", NO_TLS)
            .secret(),
        Setting::inert("tls-dh-params-file", TEXT, "", "Diffie-Hellman parameters.", NO_TLS),
        Setting::inert("tls-ca-cert-file", TEXT, "", "Certificates of trusted authorities, PEM.", NO_TLS),
        Setting::inert(
            "tls-ca-cert-dir",
            TEXT,
            "",
            "Folder with certificates of trusted authorities.",
            NO_TLS,
        ),
        Setting::inert(
            "tls-auth-clients",
            Kind::Choice(&["no", "yes", "optional"]),
            "yes",
            "Whether clients must show a certificate.",
            NO_TLS,
        ),
        Setting::inert("tls-protocols", TEXT, "", "Allowed protocol versions.", NO_TLS),
        Setting::inert("tls-ciphers", TEXT, "", "Cipher suites up to TLS 1.2.", NO_TLS),
        Setting::inert("tls-ciphersuites", TEXT, "", "Cipher suites of TLS 1.3.", NO_TLS),
        Setting::inert(
            "tls-prefer-server-ciphers",
            Kind::Bool,
            "no",
            "Use the server's order of preference of cipher suites.",
            NO_TLS,
        ),
        Setting::inert("tls-session-caching", Kind::Bool, "yes", "Let clients resume sessions.", NO_TLS),
        Setting::inert("tls-session-cache-size", COUNT, "20480", "Sessions kept for resumption.", NO_TLS),
        Setting::inert("tls-session-cache-timeout", COUNT, "300", "Seconds a session is kept.", NO_TLS),
        Setting::inert("tls-replication", Kind::Bool, "no", "Use TLS between primary and replica.", NO_TLS),
        Setting::inert("tls-cluster", Kind::Bool, "no", "Use TLS between cluster nodes.", NO_TLS),
        Setting::inert(
            "max-new-tls-connections-per-cycle",
            Kind::Int { min: 1, max: 1000 },
            "1",
            "TLS connections accepted per turn of the event loop.",
            NO_TLS,
        ),
    ],
};
