//! What is said of certificates, keys and DNS records on the command line.

use clap::{Args, Subcommand};

/// `postern certs`
#[derive(Clone, Debug, Subcommand)]
pub enum CertsAction {
    /// List certificates with their names, end and source, and what is wanted and missing.
    List,
    /// Order anew, and wait for what comes of it.
    Renew {
        /// Only what has this name [default: everything that is ordered].
        name: Option<String>,
    },
    /// Print the TLSA records of the present key and the next one, and what is published.
    Tlsa,
    /// Change a key before its time.
    #[command(subcommand)]
    Roll(RollAction),
}

/// `postern certs roll`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum RollAction {
    /// The key that serves mail: the next one serves once its TLSA records have been seen long enough.
    Mail {
        /// At once, whatever is published: the present key is in other hands. Senders that verify by DANE and know the old
        /// records alone do not deliver until those have run out.
        #[arg(long)]
        at_once: bool,
    },
    /// The key of the account with the CA.
    Account,
}

/// `postern dns`
#[derive(Clone, Debug, Default, Args)]
pub struct DnsRecords {
    /// Of these domains, or of Postern's own name [default: all].
    #[arg(value_name = "DOMAIN")]
    pub domains: Vec<String>,
    /// Compare them with what is published; exit status 1 if one is missing or wrong.
    #[arg(long, conflicts_with = "replace_dkim")]
    pub verify: bool,
    /// Make new DKIM keys for these domains before their time; they sign once their records are seen.
    #[arg(long, requires = "domains")]
    pub replace_dkim: bool,
}
