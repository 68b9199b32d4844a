//! age: with a passphrase or for recipients. The file is authenticated piece by piece, its end too.

use std::io::{self, BufRead, Read, Write};
use std::iter;

use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};

use crate::error::BackupError;

/// 2^17: 128 MiB of memory and half a second for whoever guesses once.
const WORK: u8 = 17;
/// What a hostile file may ask for at most: 1 GiB and some seconds.
const MAX_WORK: u8 = 20;
/// More than a passphrase or some keys; what is larger is another file.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What a backup is locked with.
pub enum Lock {
    /// A passphrase. Who knows it can also make such a file.
    Passphrase(SecretString),
    /// Recipients; each can open it. Anyone can make a file for them.
    Recipients(Vec<age::x25519::Recipient>),
}

impl Lock {
    /// From a passphrase as a person gave it.
    ///
    /// # Errors
    ///
    /// It is empty.
    pub fn passphrase(text: String) -> Result<Self, BackupError> {
        if text.is_empty() {
            return Err(BackupError::Key("an empty passphrase protects nothing".into()));
        }
        Ok(Self::Passphrase(text.into()))
    }

    /// From recipients as `age-keygen` prints them.
    ///
    /// # Errors
    ///
    /// One is not an age recipient of the native kind, or there is none.
    pub fn recipients(texts: &[String]) -> Result<Self, BackupError> {
        let one = |text: &String| {
            let wrong = |_| {
                BackupError::Key(format!(
                    "`{text}` is no age recipient such as age1...; make one with age-keygen"
                ))
            };
            text.trim().parse().map_err(wrong)
        };
        let all = texts.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(BackupError::Key("no recipient".into()));
        }
        Ok(Self::Recipients(all))
    }

    /// Encrypts to `output`. The end must be written by [`StreamWriter::finish`]: without it the file does not open.
    ///
    /// # Errors
    ///
    /// `output`'s.
    pub fn seal<W: Write>(&self, output: W) -> io::Result<StreamWriter<W>> {
        let encryptor = match self {
            Self::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK);
                age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            }
            Self::Recipients(recipients) => {
                age::Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient))
            }
        };
        encryptor.map_err(io::Error::other)?.wrap_output(output)
    }
}

/// What a backup is opened with.
pub enum Unlock {
    /// The passphrase.
    Passphrase(SecretString),
    /// Secret keys of recipients.
    Identities(Vec<Box<dyn age::Identity>>),
}

impl Unlock {
    /// From a file as `age-keygen` writes it.
    ///
    /// # Errors
    ///
    /// There is something else in it.
    pub fn identities(file: impl Read) -> Result<Self, BackupError> {
        let wrong = |error: &dyn std::fmt::Display| {
            BackupError::Key(format!("the identity file cannot be used: {error}"))
        };
        let bounded = io::BufReader::new(file.take(MAX_KEY_FILE));
        let parsed = age::IdentityFile::from_buffer(bounded).map_err(|error| wrong(&error))?;
        let identities = parsed.into_identities().map_err(|error| wrong(&error))?;
        Ok(Self::Identities(identities.into_iter().map(|one| one as Box<dyn age::Identity>).collect()))
    }

    /// Decrypts `input`. Every octet that comes out is authentic; an end that was cut off is an error of the reader's.
    ///
    /// # Errors
    ///
    /// [`BackupError::Sealed`].
    pub fn open<R: BufRead>(&self, input: R) -> Result<StreamReader<R>, BackupError> {
        let sealed = |error: age::DecryptError| {
            let words = match error {
                age::DecryptError::InvalidHeader | age::DecryptError::UnknownFormat => {
                    "it is no age file, so no backup of Postern's".to_owned()
                }
                age::DecryptError::NoMatchingKeys => self.mismatch().to_owned(),
                age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
                    "the passphrase or key is wrong, or the file was changed".to_owned()
                }
                other => other.to_string(),
            };
            BackupError::Sealed(words)
        };
        let decryptor = age::Decryptor::new_buffered(input).map_err(sealed)?;
        match self {
            Self::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MAX_WORK);
                decryptor.decrypt(iter::once(&identity as &dyn age::Identity)).map_err(sealed)
            }
            Self::Identities(identities) => {
                decryptor.decrypt(identities.iter().map(|one| &**one)).map_err(sealed)
            }
        }
    }

    fn mismatch(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => {
                "it is locked for a recipient, not with a passphrase: name the key by --identity"
            }
            Self::Identities(_) => {
                "none of the identities is its recipient; if it has a passphrase, leave --identity out"
            }
        }
    }
}
