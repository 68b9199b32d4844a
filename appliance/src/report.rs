//! What can be asked about a running Postern, as values: the one source of the status page, the JSON API and the
//! commands `status` and `trace`, which read the same values back.

mod addresses;
mod certifying;
mod entries;
mod learning;
mod live;
mod queue;
mod received;
mod reports;
mod scan;
mod senders;
mod state;
mod status;
mod story;
mod trends;
mod zone;

pub use crate::weekly::{WeekReceived, WeekReport, WeekSent};
pub use addresses::{AddressState, AddressesState, ListedOn, NameState};
pub use certifying::{
    AccountState, CertifyingState, KeyOrder, KeyState, LeftOutState, OrderState, RollOrder, TlsaMatch,
    TlsaState, WebState,
};
pub use entries::{Deciding, DomainEntry, DomainState, EntryError, EntryKind, EntryOrder};
pub use learning::{BlockedSender, LearningDay, LearningState, ReliabilityBin};
pub use live::{
    ArmingState, Asking, AuthorityState, BackendState, CertificateSource, CertificateState, Health,
    ListenerState, Live, RecipientsState, RoleState, RolesState, ServerState, Strain, StrainState,
    VerifyingState, Writing, Zoning,
};
pub use queue::{
    AGES, FolderCount, QueueDestination, QueueDomain, QueueState, QueuedMessage, QueuedRecipient,
};
pub use received::{
    DomainReports, MailReporter, MailSource, ReceivedReports, SetAside, TlsSender, TlsTrouble,
};
pub use reports::HeldReport;
pub use scan::{
    CheckResult, LearnOrder, Lesson, NotJudging, Otherwise, ScanOrder, Scanned, Share, Taught, Why,
};
pub use senders::SenderState;
pub use state::{Level, Problem, State};
pub use status::{Count, NetworkCount, NotReached, Period, Status, TlsCount, Totals};
pub use story::{
    AfterwardsStory, CheckStory, GroupStory, LegStory, OpinionStory, RecipientStory, SessionStory, TlsStory,
    TransactionStory, WordStory,
};
pub use trends::{Trend, TrendSpan, TrendStep};
pub use zone::{
    FailingPolicy, Found, NoZones, PublishedState, RecordState, WrongRecord, Zone, ZoneQuestion, ZoneRecord,
    ZoneReport,
};
