//! What is known of servers and their recipients goes to the store and comes back from it, beside the sessions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use record::Clock;
use relay::Relay;
use route::{
    DOMAINS, Known, List, MAX_LIST, Offered, RECIPIENTS, RecipientList, Recipients, Routing, SERVERS,
    forget_old_policies,
};
use store::{Change, Settings, Store, StoreError, Table};
use tls::{Connector, Ladder, LegPolicy, Roots};
use tokio::time::Instant;

use super::directory::LdapDirectory;
use super::error::EngineError;
use crate::backup::EXPORT;
use crate::config;

mod standing;

use standing::STANDING;

/// How often what was learnt is stored, and files are looked at: what a crash can lose.
const OFTEN: Duration = Duration::from_secs(5);
/// How often what is old is forgotten.
const SWEEP: Duration = Duration::from_secs(3600);

/// How often it is stored who is in good standing, all of it together.
const STANDINGS: Duration = Duration::from_secs(5 * 60);

/// What is known, and where it is kept.
pub(super) struct Remembering {
    known: Arc<Known>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Lists in files that the present config names.
    files: std::sync::Mutex<Vec<ListFile>>,
    written: std::sync::Mutex<Written>,
    /// Where it is written down for a backup.
    export: PathBuf,
}

/// What the store has of servers, so that only what is new is written.
#[derive(Default)]
struct Written {
    servers: HashMap<SocketAddr, Vec<u8>>,
    epoch: u64,
}

/// A list and the file that it was read from.
#[derive(Clone)]
pub(super) struct ListFile {
    path: PathBuf,
    list: Arc<RwLock<RecipientList>>,
    /// By which a change is known.
    stamp: Option<(SystemTime, u64)>,
}

impl Remembering {
    /// Opens the store, and takes back what is in it.
    pub(super) fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Result<Arc<Self>, EngineError> {
        let export = folder.with_file_name(EXPORT);
        // Of a backup that was broken off.
        let _ = std::fs::remove_file(&export);
        let store =
            Store::start(Settings::in_folder(folder), Arc::clone(&clock)).map_err(EngineError::Store)?;
        Ok(Arc::new(Self {
            known: Arc::default(),
            store,
            clock,
            files: std::sync::Mutex::default(),
            written: std::sync::Mutex::default(),
            export,
        }))
    }

    /// Where small facts are kept.
    pub(super) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Takes back what was known before a restart. Without it mail goes on.
    pub(super) async fn recall(&self, relay: &Relay) {
        let routing = &relay.serving().settings.routing;
        let recalled = match self.recall_standing(relay).await {
            Ok(()) => self.try_to_recall(routing).await,
            other => other,
        };
        if let Err(error) = recalled {
            tracing::error!(%error, "what was known of servers and recipients cannot be read; it is learnt again");
        }
    }

    async fn try_to_recall(&self, routing: &Routing) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.each_page(RECIPIENTS, |pairs| self.known.restore(pairs, now)).await?;
        self.each_page(DOMAINS, |pairs| self.known.restore_domains(pairs)).await?;
        for server in routing.backends().iter().flat_map(|backend| backend.servers()) {
            let stored = self.store.get(SERVERS, server.address().to_string().as_bytes()).await?;
            if let Some(offered) = stored.as_deref().and_then(Offered::from_bytes) {
                server.recall(offered);
            }
        }
        Ok(())
    }

    async fn recall_standing(&self, relay: &Relay) -> Result<(), StoreError> {
        let mut all = store::Pairs::new();
        self.each_page(STANDING, |pairs| all.extend(pairs.iter().cloned())).await?;
        if let Some(known) = standing::read(&all, self.clock.now()) {
            relay.admission().restore_standing(known, Instant::now());
        }
        Ok(())
    }

    /// Stores who is in good standing, if that has changed since `stored`; returns what is stored now.
    async fn store_standing(&self, relay: &Relay, stored: u64) -> u64 {
        let admission = relay.admission();
        let revision = admission.standing_revision();
        if revision == stored {
            return stored;
        }
        let changes = standing::changes(&admission.in_good_standing(Instant::now()), self.clock.now());
        match self.store.apply(STANDING, changes).await {
            Ok(()) => revision,
            Err(error) => {
                tracing::error!(%error, "who is in good standing is not stored");
                stored
            }
        }
    }

    async fn each_page(&self, table: Table, mut take: impl FnMut(&store::Pairs)) -> Result<(), StoreError> {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let pairs = self.store.scan(table, after.as_deref()).await?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            after = Some(last.clone());
            take(&pairs);
        }
    }

    /// What is known of a backend's recipients, by its config.
    pub(super) fn recipients(
        &self,
        backend: &config::Backend,
        tls: &tls::Settings,
        roots: &Roots,
    ) -> Result<Recipients, EngineError> {
        let list = match &backend.recipients {
            config::Recipients::Ask => List::Ask,
            config::Recipients::File(path) => {
                let mut file = ListFile { path: path.clone(), list: Arc::default(), stamp: None };
                file.read_if_changed()
                    .map_err(|error| EngineError::RecipientList { path: path.clone(), error })?;
                let list = Arc::clone(&file.list);
                self.files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
                List::File(list)
            }
            config::Recipients::Ldap(directory) => {
                let roots = match &directory.ca_file {
                    None => roots.clone(),
                    Some(file) => roots
                        .with_file(file)
                        .map_err(|error| EngineError::CaFile { backend: backend.name.clone(), error })?,
                };
                let policy = LegPolicy { ladder: Ladder::Verify, roots, ..LegPolicy::default() };
                let connector = Connector::new(tls, &policy, Arc::clone(&self.clock)).map_err(|error| {
                    EngineError::Tls { what: format!("the directory of backend {}", backend.name), error }
                })?;
                List::Directory(Arc::new(LdapDirectory::new((**directory).clone(), connector)))
            }
        };
        Ok(Recipients::new(&backend.name, Arc::clone(&self.known), list))
    }

    /// Before a config is read again: its lists take the place of those watched so far, which come back.
    pub(super) fn forget_files(&self) -> Vec<ListFile> {
        std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The config was wrong: the lists of the old one are watched on.
    pub(super) fn watch_again(&self, files: Vec<ListFile>) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// Stores what was learnt and looks at files, for as long as the relay serves.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let (mut since_sweep, mut since_standing) = (Duration::ZERO, Duration::ZERO);
        let mut standing = 0;
        let mut fails = false;
        while !relay.is_draining() {
            tokio::time::sleep(OFTEN).await;
            since_sweep += OFTEN;
            if since_sweep >= SWEEP {
                since_sweep = Duration::ZERO;
                self.known.sweep(self.clock.now());
                if let Err(error) = forget_old_policies(&self.store, self.clock.now()).await {
                    tracing::debug!(%error, "MTA-STS policies whose time is over stay in the store");
                }
            }
            since_standing += OFTEN;
            if since_standing >= STANDINGS {
                since_standing = Duration::ZERO;
                standing = self.store_standing(&relay, standing).await;
            }
            match self.store_what_is_new(&relay.serving().settings.routing).await {
                Ok(()) if fails => {
                    fails = false;
                    tracing::info!("what is known of servers and recipients is stored again");
                }
                Ok(()) => {}
                Err(error) if !fails => {
                    fails = true;
                    tracing::error!(%error, "what is known of servers and recipients is not stored, and would be lost with a restart");
                }
                Err(error) => tracing::debug!(%error, "still not stored"),
            }
            self.read_changed_files().await;
        }
    }

    /// The same once more, at the end.
    pub(super) async fn finish(&self, relay: &Relay) {
        self.store_standing(relay, 0).await;
        if let Err(error) = self.store_what_is_new(&relay.serving().settings.routing).await {
            tracing::error!(%error, "the last facts about servers and recipients are lost");
        }
    }

    /// Writes all of it into a file of the state folder, for a backup; with what was learnt within the last seconds.
    pub(super) async fn write_down(&self, relay: &Relay) -> Result<u64, StoreError> {
        self.store_standing(relay, 0).await;
        self.store_what_is_new(&relay.serving().settings.routing).await?;
        self.store.export(self.export.clone()).await
    }

    async fn store_what_is_new(&self, routing: &Routing) -> Result<(), StoreError> {
        let epoch = self.store.epoch();
        {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written.epoch != epoch {
                // A damaged store was moved aside: the new one is given all that memory has.
                *written = Written { epoch, ..Written::default() };
                self.known.store_all_again();
            }
        }
        let mut anything = false;
        loop {
            let changes = self.known.changes();
            if changes.is_empty() {
                break;
            }
            anything = true;
            self.apply_known(RECIPIENTS, changes).await?;
        }
        let domains = self.known.domain_changes();
        if !domains.is_empty() {
            anything = true;
            self.apply_known(DOMAINS, domains).await?;
        }
        let servers = self.new_servers(routing);
        if !servers.is_empty() {
            anything = true;
            let changes = servers.iter().map(|(address, bytes)| {
                Change::Put(address.to_string().as_bytes().into(), bytes.as_slice().into())
            });
            self.store.apply(SERVERS, changes.collect()).await?;
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.servers.extend(servers);
        }
        if anything { self.store.flush().await } else { Ok(()) }
    }

    async fn apply_known(&self, table: Table, changes: Vec<Change>) -> Result<(), StoreError> {
        let applied = self.store.apply(table, changes.clone()).await;
        if applied.is_err() {
            self.known.not_stored(&changes);
        }
        applied
    }

    /// What servers offer now and did not when it was last stored.
    fn new_servers(&self, routing: &Routing) -> Vec<(SocketAddr, Vec<u8>)> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = routing.backends().iter().flat_map(|backend| backend.servers());
        let offered = servers.filter_map(|server| Some((server.address(), server.offered()?.to_bytes())));
        offered.filter(|(address, bytes)| written.servers.get(address) != Some(bytes)).collect()
    }

    async fn read_changed_files(&self) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if files.is_empty() {
            return;
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut files = files;
            for file in &mut files {
                if let Err(error) = file.read_if_changed() {
                    tracing::error!(
                        path = %file.path.display(),
                        %error,
                        "a list of recipients cannot be read: the old one stays"
                    );
                }
            }
            files
        });
        let Ok(read) = read.await else { return };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files.iter_mut() {
            if let Some(read) = read.iter().find(|read| Arc::ptr_eq(&read.list, &file.list)) {
                file.stamp = read.stamp;
            }
        }
    }
}

impl ListFile {
    /// Blocks: for a start, a reload, or a thread that may.
    fn read_if_changed(&mut self) -> std::io::Result<()> {
        let facts = std::fs::metadata(&self.path)?;
        let stamp = Some((facts.modified()?, facts.len()));
        if stamp == self.stamp {
            return Ok(());
        }
        // What cannot be read is told once, until it changes again.
        self.stamp = stamp;
        if facts.len() > MAX_LIST as u64 {
            return Err(std::io::Error::other("larger than 64 MiB"));
        }
        let (list, bad) = RecipientList::read(&std::fs::read_to_string(&self.path)?);
        for line in bad {
            tracing::warn!(path = %self.path.display(), "{line}");
        }
        tracing::info!(path = %self.path.display(), entries = list.len(), "list of recipients read");
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(())
    }
}
