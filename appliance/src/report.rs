//! What can be asked about a running Postern, as values: the one source of the status page, the JSON API and the
//! commands `status` and `trace`, which read the same values back.

mod certifying;
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
mod zone;

pub use certifying::{
    AccountState, CertifyingState, KeyOrder, KeyState, LeftOutState, OrderState, RollOrder, TlsaMatch,
    TlsaState, WebState,
};
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
pub use zone::{
    FailingPolicy, Found, NoZones, PublishedState, RecordState, WrongRecord, Zone, ZoneQuestion, ZoneRecord,
    ZoneReport,
};
