//! The guard: the one process with rights. It reads its config, 32-octet records of the gate's, and the text of a config that comes
//! with one of them; it has one thread. It binds ports, starts gate and workers, starts them again when they end, keeps the rule set, and ends
//! with the gate.

pub mod ban_desk;
pub mod kernel;

mod configs;
pub(super) mod never;
pub(super) mod places;
pub(super) mod process;
mod sockets;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use sift::packet::{self, Packet, Socket};
use tokio::signal::unix::{Signal as Incoming, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use self::ban_desk::BanDesk;
use self::kernel::Kernel;
use self::places::Places;
use self::process::{Pause, Process, end_in_words};
use self::sockets::Sockets;
use super::account::{Account, group_name};
use super::confine::privileges;
use super::error::RoleError;
use super::message::{Order, VERB, Verb};
use super::{inherited, state_folder};
use crate::armed;
use crate::command::{CommandLine, Exit};
use crate::config::{self, Config};
use crate::{engine, output};

/// The gate drains for 30 s; who is not through by then is ended.
const STOP: Duration = Duration::from_secs(45);

/// From the moment that the gate closes its end until it must have ended.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// `postern run` as root.
///
/// # Errors
///
/// Something that it needs before there is a gate.
pub(super) fn run(line: &CommandLine) -> Result<Exit, RoleError> {
    start(line, None)
}

/// `postern run --rules SOCKET`: without rights but to ports, all roles with the user of this process. Bans and rules are asked
/// for at the socket.
///
/// # Errors
///
/// As [`run`], or this is root.
pub(super) fn run_as_own_user(line: &CommandLine, rules: &Path) -> Result<Exit, RoleError> {
    start(line, Some(rules))
}

fn start(line: &CommandLine, rules: Option<&Path>) -> Result<Exit, RoleError> {
    inherited::close_others()?;
    let file = line.config_file();
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(error) => {
            output::diagnosis(&error.to_string());
            return Ok(Exit::Wrong);
        }
    };
    let (account, why) = match rules {
        Some(_) => (Account::own()?, "this was started as it"),
        None => Account::choose(&config.state_dir)?,
    };
    tracing::info!(user = account.name, group = group_name(account.group), why, "the gate's user");
    state_folder::make(&config.state_dir)?;
    // A restore at work, or stopped half way, has folders there that must not be given away. The gate takes the lock for good.
    drop(engine::state_lock(&config.state_dir)?);
    // Opened while it may be, and then given to the gate's user with all else.
    let armed = armed::open_or_make(&config.state_dir)
        .map_err(|error| RoleError::StateFolder { path: armed::path(&config.state_dir), error })?;
    if rules.is_none() {
        state_folder::hand_over(&config.state_dir, &account)?;
    }
    let mut sockets = Sockets::default();
    sockets.bind(&config)?;
    match rules {
        Some(_) => privileges::limit_guard_of_user()?,
        None => privileges::limit_to(privileges::GUARD)?,
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RoleError::Start { what: "the runtime", error })?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(|error| RoleError::Start { what: "signals", error })?;
        let options = [OsString::from("--config"), file.clone().into()];
        let kernel = match rules {
            Some(socket) => kernel::at(&config, socket),
            None => kernel::of(&config, &options, armed),
        };
        let guard = Guard::new(line, file, account, config, sockets, kernel);
        Ok(guard.serve(signals).await)
    })
}

struct Guard {
    /// The command by which the gate is started.
    words: Vec<OsString>,
    file: PathBuf,
    account: Account,
    config: Config,
    sockets: Sockets,
    desk: BanDesk,
    kernel: Box<dyn Kernel>,
    gate: Option<Gate>,
    places: Places,
    pause: Pause,
    restarts: u32,
    /// From when on the config may be changed again.
    change_from: Instant,
    /// When the gate is to be started.
    due: Option<Instant>,
    /// Set once the end has begun: when patience is over.
    stopping: Option<Instant>,
}

struct Gate {
    process: Process,
    line: Socket,
    /// It has closed its end, or is to end: nothing it says counts.
    deaf: bool,
    /// When it is ended, if it has not ended by itself: its exit status is worth waiting for.
    kill_at: Option<Instant>,
}

struct Signals {
    child: Incoming,
    hangup: Incoming,
    interrupt: Incoming,
    terminate: Incoming,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

impl Guard {
    fn new(
        line: &CommandLine,
        file: PathBuf,
        account: Account,
        config: Config,
        sockets: Sockets,
        kernel: Box<dyn Kernel>,
    ) -> Self {
        let json = line.json.then(|| OsString::from("--json"));
        let options = [OsString::from("--config"), file.clone().into()];
        let words: Vec<OsString> = options.into_iter().chain(json).chain([OsString::from("gate")]).collect();
        let now = Instant::now();
        Self {
            words,
            file,
            account,
            kernel,
            config,
            sockets,
            desk: BanDesk::new(now),
            gate: None,
            places: Places::new(std::thread::available_parallelism().map_or(1, usize::from)),
            pause: Pause::default(),
            restarts: 0,
            change_from: now,
            due: Some(now),
            stopping: None,
        }
    }

    /// Until the gate has ended for good; with its exit status.
    async fn serve(mut self, mut signals: Signals) -> Exit {
        if let Err(error) = self.kernel.apply() {
            tracing::error!(error, "the rule set cannot be put up");
            return Exit::Unreachable;
        }
        loop {
            // Told to stop between two gates.
            if self.stopping.is_some() && self.gate.is_none() {
                return Exit::Done;
            }
            let read_from = self.desk.may_read(Instant::now());
            let timer = self.timer();
            tokio::select! {
                _ = signals.child.recv() => {
                    if let Some(exit) = self.reap() {
                        return exit;
                    }
                }
                _ = signals.hangup.recv() => self.reload(),
                _ = signals.interrupt.recv() => self.stop(),
                _ = signals.terminate.recv() => self.stop(),
                (packet, record) = said(self.gate.as_ref(), read_from) => self.hear(packet, &record),
                () = sleep_until(timer.unwrap_or(read_from)), if timer.is_some() => self.on_time(),
            }
        }
    }

    fn timer(&self) -> Option<Instant> {
        let gate = self.gate.as_ref();
        let workers = self.places.due().filter(|_| gate.is_some_and(|gate| !gate.deaf));
        let kill_at = gate.and_then(|gate| gate.kill_at);
        [self.due, workers, self.desk.due(), self.stopping, kill_at].into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let over = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if over(self.desk.due()) {
            self.desk.flush(&mut *self.kernel, now);
        }
        if over(self.due) {
            self.due = None;
            self.start_gate(now);
        }
        if over(self.places.due())
            && let Some(gate) = self.gate.as_ref().filter(|gate| !gate.deaf)
            && let Err(error) = self.places.fill(now, &self.account, &gate.line)
        {
            tracing::debug!(%error, "the gate takes no workers");
            self.give_up_gate(now);
        }
        if self.gate.as_ref().is_some_and(|gate| over(gate.kill_at)) {
            self.end_gate();
        }
        if over(self.stopping) {
            self.stopping = Some(now + LAST_MOMENT);
            tracing::error!("the gate does not stop and is ended");
            self.end_gate();
        }
    }

    fn start_gate(&mut self, now: Instant) {
        match self.try_start_gate() {
            Ok(gate) => {
                tracing::info!(pid = gate.process.pid(), restarts = self.restarts, "the gate was started");
                self.gate = Some(gate);
                self.places.open(now);
            }
            Err(error) => {
                let pause = self.pause.next(Duration::ZERO);
                tracing::error!(%error, ?pause, "the gate cannot be started");
                self.due = Some(now + pause);
            }
        }
    }

    fn try_start_gate(&self) -> std::io::Result<Gate> {
        let (near, far) = packet::pair()?;
        let process = Process::start(&self.words, &self.account, far, false)?;
        let gate = Gate { process, line: Socket::new(near)?, deaf: false, kill_at: None };
        for (order, descriptors) in self.sockets.orders(0) {
            gate.line.try_send(&order.to_bytes(), &descriptors)?;
        }
        let begin = Order::Begin { guard: std::process::id(), restarts: self.restarts };
        gate.line.try_send(&begin.to_bytes(), &[])?;
        Ok(gate)
    }

    /// Whoever ended is buried. Returns the exit status when nothing is left to do.
    fn reap(&mut self) -> Option<Exit> {
        self.places.reap(Instant::now(), self.stopping.is_some());
        let gate = self.gate.as_mut()?;
        let status = gate.process.ended()?;
        let lived = gate.process.lived();
        self.gate = None;
        self.places.close();
        if let Some(exit) = chosen(status) {
            return Some(exit);
        }
        if self.stopping.is_some() {
            // Before it could listen to signals it has nothing to drain.
            let at_once = status.signal() == Some(nix::libc::SIGTERM);
            return Some(if at_once { Exit::Done } else { Exit::Unreachable });
        }
        let pause = self.pause.next(lived);
        let how = end_in_words(status);
        tracing::error!(
            how,
            ?lived,
            ?pause,
            "the gate has ended and is started again; clients wait meanwhile"
        );
        self.restarts = self.restarts.saturating_add(1);
        self.due = Some(Instant::now() + pause);
        None
    }

    /// One record of the gate's, or its silence.
    fn hear(&mut self, packet: std::io::Result<Packet>, record: &[u8]) {
        let packet = match packet {
            Ok(packet) if packet.length > 0 => packet,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            // It ends, or it has closed what it must keep open.
            Ok(_) | Err(_) => return self.give_up_gate(Instant::now()),
        };
        let octets = record.get(..packet.length).filter(|_| packet.whole).unwrap_or_default();
        let verb = match Verb::read(octets) {
            Ok(verb) => verb,
            Err(error) => {
                tracing::error!(%error, "what the gate said is none of the four verbs: it is broken and ended");
                return self.end_gate();
            }
        };
        let is_config = matches!(verb, Verb::Config { .. });
        if is_config != (packet.descriptors.len() == 1) {
            tracing::error!(
                ?verb,
                "what the gate handed over does not go with what it said: it is broken and ended"
            );
            return self.end_gate();
        }
        match self.desk.take(verb, &never::never(&self.config), Instant::now()) {
            Ok(()) => tracing::debug!(?verb, "the gate's wish"),
            Err(why) => tracing::warn!(?verb, why, "the gate's wish is refused"),
        }
        if let (Verb::Config { number }, Some(text)) = (verb, packet.descriptors.into_iter().next()) {
            self.change(number, text);
        }
    }

    /// It has closed its end: it ends, and says by its exit status why, or it is broken.
    fn give_up_gate(&mut self, now: Instant) {
        if let Some(gate) = &mut self.gate {
            gate.deaf = true;
            // Later each time: who was killed already ends as soon as the kernel lets it.
            gate.kill_at = Some(now + LAST_MOMENT);
        }
    }

    fn end_gate(&mut self) {
        self.give_up_gate(Instant::now());
        if let Some(gate) = &self.gate {
            gate.process.signal(Signal::KILL);
        }
    }

    /// New sockets first, then the word: the gate finds them when it reads the config.
    fn reload(&mut self) {
        let known = self.sockets.len();
        match config::load(&self.file) {
            Ok(config) => {
                if let Err(error) = self.sockets.bind(&config) {
                    tracing::error!(%error, "a new listener cannot be had");
                }
                // A mode or manage_firewall that changed counts from the next start.
                self.config = config;
                if let Err(error) = self.kernel.apply() {
                    tracing::error!(error, "the rule set does not follow the config");
                }
            }
            // The gate will say the same, with all that hangs on it.
            Err(error) => tracing::debug!(%error, "the config is wrong"),
        }
        self.send(known, Order::Reload);
    }

    /// Sockets that are new, and then an order.
    fn send(&mut self, known: usize, order: Order) {
        let Some(gate) = self.gate.as_ref().filter(|gate| !gate.deaf) else { return };
        let orders = self.sockets.orders(known).chain([(order, Vec::new())]);
        let sent: std::io::Result<()> = orders
            .into_iter()
            .try_for_each(|(order, descriptors)| gate.line.try_send(&order.to_bytes(), &descriptors));
        if let Err(error) = sent {
            tracing::debug!(%error, "the gate takes no orders");
            self.give_up_gate(Instant::now());
        }
    }

    /// SIGTERM: nothing new is taken, and the gate drains.
    fn stop(&mut self) {
        self.sockets.close();
        self.due = None;
        if let Some(gate) = &self.gate {
            gate.process.signal(Signal::TERM);
        }
        self.stopping.get_or_insert_with(|| Instant::now() + STOP);
    }
}

/// The next record of the gate's, not before its time. Never comes back where there is nobody to listen to.
async fn said(gate: Option<&Gate>, from: Instant) -> (std::io::Result<Packet>, [u8; VERB]) {
    sleep_until(from).await;
    let mut record = [0; VERB];
    match gate.filter(|gate| !gate.deaf) {
        Some(gate) => {
            let packet = gate.line.receive(&mut record, 1).await;
            (packet, record)
        }
        None => std::future::pending().await,
    }
}

/// A status that the gate chose itself. It will not choose another one when it is started again.
fn chosen(status: ExitStatus) -> Option<Exit> {
    match status.code()? {
        0 => Some(Exit::Done),
        1 => Some(Exit::No),
        2 => Some(Exit::Wrong),
        3 => Some(Exit::Unreachable),
        _ => None,
    }
}
