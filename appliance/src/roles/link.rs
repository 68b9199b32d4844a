//! What the engine has of the other roles: sockets that were bound for it, workers, word of reloads.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use relay::Relay;
use sift::packet::{MAX_DESCRIPTORS, Packet, Socket};
use sift::{Worker, Workers};
use tokio::sync::{Notify, oneshot};

use super::confine::files::Enforced;
use super::message::{ORDER, Order, Verb};
use super::{bans, handed};
use crate::report::{RoleState, RolesState};
use crate::settings::place::{self, Digest, Refusal};

/// The guard runs `nft` before it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the guard handed over before the gate began.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) sockets: HashMap<SocketAddr, Vec<TcpListener>>,
    pub(super) guard: u32,
    pub(super) restarts: u32,
}

/// The other roles.
#[derive(Debug)]
pub struct Roles {
    kind: Kind,
    /// Bound by the guard and not in use yet, by their address in the config.
    sockets: Mutex<HashMap<SocketAddr, Vec<TcpListener>>>,
    workers: OnceLock<Arc<Workers>>,
    reload: Notify,
    /// Who waits for a config to be put in place, by the number of the wish.
    placing: Mutex<Option<Placing>>,
    wishes: AtomicU32,
}

/// The number of a wish, and who waits for what became of it.
type Placing = (u32, oneshot::Sender<Result<(), Refusal>>);

#[derive(Debug)]
enum Kind {
    Separate { line: Arc<Socket>, guard: u32, restarts: u32, enforced: Enforced, shares_user: bool },
    Threads(&'static str),
}

impl Roles {
    /// All roles are this process; `why`, in words.
    pub fn threads(why: &'static str) -> Arc<Self> {
        Self::new(Kind::Threads(why), HashMap::new())
    }

    /// This process is the gate; `shares_user` if the guard has the same user. Must be called within a runtime.
    pub(super) fn separate(
        socket: OwnedFd,
        handed: Handed,
        enforced: Enforced,
        shares_user: bool,
    ) -> std::io::Result<Arc<Self>> {
        let Handed { sockets, guard, restarts } = handed;
        let line = Arc::new(Socket::new(socket)?);
        Ok(Self::new(Kind::Separate { line, guard, restarts, enforced, shares_user }, sockets))
    }

    fn new(kind: Kind, sockets: HashMap<SocketAddr, Vec<TcpListener>>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            sockets: Mutex::new(sockets),
            workers: OnceLock::new(),
            reload: Notify::new(),
            placing: Mutex::default(),
            wishes: AtomicU32::default(),
        })
    }

    /// The sockets that the guard has bound for this address; otherwise those that `bind` makes here.
    ///
    /// # Errors
    ///
    /// What `bind` says.
    pub fn sockets<E>(
        &self,
        address: SocketAddr,
        bind: impl FnOnce() -> Result<Vec<TcpListener>, E>,
    ) -> Result<Vec<TcpListener>, E> {
        let bound = self.waiting().remove(&address);
        bound.map_or_else(bind, Ok)
    }

    /// Starts what works beside the engine. To be called once, within the runtime.
    pub fn attend(self: &Arc<Self>, relay: &Arc<Relay>) {
        let settings = sift::Settings::default();
        let workers = match &self.kind {
            Kind::Threads(_) => {
                let count = std::thread::available_parallelism().map_or(1, usize::from);
                Workers::of_threads(settings, count)
            }
            Kind::Separate { line, .. } => {
                let workers = Workers::of_processes(settings);
                tokio::spawn(listen(Arc::clone(self), Arc::clone(line), Arc::clone(&workers)));
                tokio::spawn(bans::tell(Arc::clone(relay), Arc::clone(line)));
                workers
            }
        };
        if self.workers.set(workers).is_err() {
            tracing::error!("the roles are attended to already");
        }
    }

    /// Those who read mail; `None` before [`Roles::attend`].
    pub fn workers(&self) -> Option<&Arc<Workers>> {
        self.workers.get()
    }

    /// Comes back when the guard says that the config is to be read again; never where there is no guard. Dropping the
    /// future loses nothing.
    pub async fn reload_wanted(&self) {
        self.reload.notified().await;
    }

    /// Asks the guard to put up the rule set as it should be now. False: there is no guard, somebody else has to.
    pub fn reapply(&self) -> bool {
        let Kind::Separate { line, .. } = &self.kind else { return false };
        if let Err(error) = line.try_send(&Verb::Reapply.to_bytes(), &[]) {
            tracing::error!(%error, "the guard cannot be told to put up the rule set");
        }
        true
    }

    /// Puts a config's text into its file, by whoever may write that; `base` is what it takes the place of. One after the other.
    ///
    /// # Errors
    ///
    /// The file is as it was.
    pub(crate) async fn place(&self, file: &Path, base: Digest, text: &str) -> Result<(), Refusal> {
        let Kind::Separate { line, .. } = &self.kind else {
            let (file, text) = (file.to_owned(), text.to_owned());
            let write = move || {
                place::look(&file, base, &text)?;
                place::write(&file, &text)
            };
            return tokio::task::spawn_blocking(write).await.unwrap_or(Err(Refusal::Silent));
        };
        let handed = handed::sealed(base, text)?;
        let number = self.wishes.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        *self.placing.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, answer));
        line.send(&Verb::Config { number }.to_bytes(), &[handed.as_fd()]).await?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(placed)) => placed,
            Ok(Err(_)) | Err(_) => Err(Refusal::Silent),
        }
    }

    fn was_placed(&self, number: u32, placed: Result<(), Refusal>) {
        let mut waiting = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = waiting.take_if(|(wish, _)| *wish == number) {
            // Nobody waits for it any more.
            let _ = answer.send(placed);
        }
    }

    /// As the page shows it.
    pub fn state(&self) -> RolesState {
        let seats = self.workers.get().map(|workers| workers.seats()).unwrap_or_default();
        let sift = seats.iter().map(|seat| RoleState {
            role: format!("sift {}", seat.slot),
            pid: if seat.pid == 0 { std::process::id() } else { seat.pid },
            restarts: seat.restarts,
            works: seat.works,
        });
        let one = |role: &str, pid, restarts| RoleState { role: role.to_owned(), pid, restarts, works: true };
        match &self.kind {
            Kind::Threads(why) => RolesState {
                words: format!("threads ({why})"),
                processes: std::iter::once(one("gate", std::process::id(), 0)).chain(sift).collect(),
            },
            Kind::Separate { guard, restarts, enforced, shares_user, .. } => {
                let mut words = "separate processes".to_owned();
                if *shares_user {
                    words.push_str(" of one user");
                }
                if *enforced == Enforced::Not {
                    words.push_str(" (no Landlock in this kernel)");
                }
                let first = [one("guard", *guard, 0), one("gate", std::process::id(), *restarts)];
                RolesState { words, processes: first.into_iter().chain(sift).collect() }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<TcpListener>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the guard's orders. The kernel ends the gate with the guard, so that an end of its orders needs no answer but
/// a word in the log.
async fn listen(roles: Arc<Roles>, line: Arc<Socket>, workers: Arc<Workers>) {
    let mut record = [0; ORDER];
    loop {
        match line.receive(&mut record, MAX_DESCRIPTORS).await {
            Ok(packet) if packet.length == 0 => break,
            Ok(packet) => obey(&roles, &workers, &record, packet),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "the guard's orders cannot be received");
                return;
            }
        }
    }
    tracing::error!("the guard gives no orders any more");
}

fn obey(roles: &Roles, workers: &Arc<Workers>, record: &[u8], packet: Packet) {
    let octets = record.get(..packet.length).filter(|_| packet.whole).unwrap_or_default();
    let mut descriptors = packet.descriptors.into_iter();
    match Order::read(octets) {
        Ok(Order::Sockets { address, .. }) => {
            roles.waiting().entry(address).or_default().extend(descriptors.map(TcpListener::from));
        }
        Ok(Order::Worker { slot, pid, restarts }) => {
            let (Some(socket), process @ Some(_), Ok(slot)) =
                (descriptors.next(), descriptors.next(), usize::try_from(slot))
            else {
                return tracing::error!("the guard handed over a worker without its descriptors");
            };
            workers.join(Worker { slot, socket, process, pid, restarts });
        }
        Ok(Order::Reload) => roles.reload.notify_one(),
        Ok(Order::Config { number, outcome, detail }) => {
            roles.was_placed(number, Refusal::told(outcome, detail));
        }
        Ok(Order::Begin { .. }) => {}
        Err(error) => tracing::error!(%error, "the guard cannot be understood"),
    }
}
