//! What a user submits and is held: it is kept for each recipient's own server.

use std::sync::Arc;

use delivery::Outgoing;
use smtp::{ForwardPath, No, RecipientSet};
use spool::Folder;

use super::super::Common;
use super::super::judge::Cuts;
use super::super::sending::Sending;
use super::Settling;

impl Settling {
    /// A user's message that is held. Its server would take it from nobody else when it is released: without the user's password,
    /// which is not kept, each recipient's own server has to get it, and the world's get it as they get all mail.
    pub(super) fn hold_submission(
        &mut self,
        recipients: &RecipientSet,
        (cuts, signatures): (&Cuts, &str),
        why: &No,
        common: &Common,
    ) {
        let mut places: Vec<(Box<str>, bool, RecipientSet)> = Vec::new();
        for index in recipients.iter() {
            let Some(rcpt) = self.awaiting.envelope().recipients.get(index) else { continue };
            let (name, to_world) = place_of(&rcpt.forward_path, common);
            match places.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, _, recipients)) => recipients.insert(index),
                None => places.push((name, to_world, [index].into_iter().collect())),
            }
        }
        for (name, to_world, recipients) in places {
            let is_hidden = to_world && common.settings.hides;
            let cuts = if is_hidden { cuts.hiding.clone() } else { cuts.always.clone() };
            let mut added = if to_world { signatures.as_bytes().to_vec() } else { Vec::new() };
            added.extend(self.received(to_world, &recipients, common));
            let outgoing = Arc::new(Outgoing { added, cuts, length: self.body.len() });
            let held = (Folder::Quarantine, why.clone());
            self.sendings.push(Sending::held(None, recipients, outgoing, held, common.now).towards(name));
        }
    }
}

/// The backend of a recipient, by its name, or the host in the world that the queue looks up, and whether it is that.
fn place_of(path: &ForwardPath, common: &Common) -> (Box<str>, bool) {
    let routing = &common.settings.routing;
    let backend = match path {
        ForwardPath::Mailbox(mailbox) => mailbox.domain().and_then(|domain| routing.backend_of(domain)),
        ForwardPath::Postmaster(_) => routing.postmasters(),
    };
    match (backend, path) {
        (Some(backend), _) => (backend.name().into(), false),
        (None, ForwardPath::Mailbox(mailbox)) => {
            let host = mailbox.to_string().rsplit_once('@').map(|(_, host)| host.to_lowercase());
            (host.unwrap_or_default().into(), true)
        }
        (None, ForwardPath::Postmaster(_)) => (common.settings.hostname.clone(), false),
    }
}
