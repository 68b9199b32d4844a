//! Why Postern does not start, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::command::Exit;

/// Why Postern does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What is known of users cannot be read.
    #[error("users and tokens cannot be used: {0}")]
    Access(#[from] crate::access::AccessError),
    /// The status page's address cannot be had.
    #[error(
        "the status page cannot listen on {address}: {error}\nSet [admin] listen to a free address, or stop what listens there."
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A CA file cannot be used.
    #[error("the CA file of backend {backend} cannot be used: {error}")]
    CaFile {
        /// The backend's name.
        backend: String,
        /// Why.
        error: tls::RootsError,
    },
    /// The folder of certificates, or whom to order them from.
    #[error("certificates cannot be looked after: {0}")]
    Certificates(String),
    /// A certificate cannot be used.
    #[error("a certificate cannot be used: {0}")]
    Certificate(#[from] tls::IdentityError),
    /// A backend's server is one of Postern's own listeners.
    #[error(
        "the server {server} of backend {backend} is Postern itself\nSet servers to where the mail server listens, or give the [[listener]] another address."
    )]
    Itself {
        /// The backend's name.
        backend: String,
        /// The server.
        server: SocketAddr,
    },
    /// A listener cannot be had.
    #[error("{0}\nSet another [[listener]] address, or stop what listens there.")]
    Listen(intercept::ListenError),
    /// The classifier's folder cannot be used.
    #[error("the classifier cannot keep what it learns: {0}\nIts folder is `model` in state_dir.")]
    Model(String),
    /// A list of recipients cannot be read.
    #[error("the list of recipients {path} cannot be read: {error}", path = .path.display())]
    RecipientList {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store's thread cannot be started.
    #[error("the store cannot be started: {0}")]
    Store(io::Error),
    /// A server's name cannot be resolved.
    #[error("the server {server} of backend {backend} cannot be resolved: {error}")]
    LookUp {
        /// The backend's name.
        backend: String,
        /// The server as configured.
        server: String,
        /// Why.
        error: io::Error,
    },
    /// A mode that this version does not have.
    #[error("network.mode = \"{0}\" is not in this version yet; \"front\" and \"gateway\" are")]
    Mode(&'static str),
    /// The authority that signs for far sides cannot be had.
    #[error("the certificate authority of the interception cannot be used: {0}")]
    Authority(tls::AuthorityError),
    /// How DNS is asked is wrong.
    #[error("[resolver] cannot be used: {0}")]
    Resolver(dns::SettingsError),
    /// Two backends for one domain.
    #[error(transparent)]
    Routing(#[from] route::RoutingError),
    /// The trace on disk cannot be kept.
    #[error("the trace cannot be kept: {0}")]
    Trace(String),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    /// The spool cannot be used.
    #[error("the spool cannot be opened: {0}\nLook at the folder `spool` in state_dir.")]
    Spool(io::Error),
    /// The state folder cannot be used.
    #[error("{path} cannot be used: {error}\nSet state_dir to a folder that this user may write.", path = .path.display())]
    State {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The state folder belongs to another Postern or to a restore, or a restore was interrupted.
    #[error("{0}")]
    InUse(String),
    /// A port of the public web server cannot be had.
    #[error(
        "the public web server cannot listen on {address}: {error}\nGive Postern the right to it (as root, or with \
         CAP_NET_BIND_SERVICE), stop what listens there, or set [http] plain and tls to other addresses, or to \"\" for none."
    )]
    Web {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A thread cannot be started.
    #[error("a thread to serve sessions cannot be started: {0}")]
    Worker(io::Error),
    /// TLS cannot be set up.
    #[error("TLS for {what} cannot be set up: {error}")]
    Tls {
        /// A backend, or the listeners.
        what: String,
        /// Why.
        error: tls::TlsError,
    },
}

impl EngineError {
    /// The exit status: wrong config, or something out of reach.
    pub fn exit(&self) -> Exit {
        match self {
            Self::CaFile { .. }
            | Self::Itself { .. }
            | Self::Certificate(_)
            | Self::Mode(_)
            | Self::RecipientList { .. }
            | Self::Resolver(_)
            | Self::Routing(_) => Exit::Wrong,
            _ => Exit::Unreachable,
        }
    }
}
