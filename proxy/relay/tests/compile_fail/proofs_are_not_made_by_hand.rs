//! Law 1: only the server's reply makes `Delivered`, only the disk's sync makes `Spooled`.

fn main() {
    let id = smtp::TransactionId { session: smtp::TraceId::new(1, 1), number: 1 };
    let recipients = smtp::RecipientSet::new();
    let _ = delivery::Delivered { transaction: id, recipients: recipients.clone() };
    let _ = spool::Spooled { id: spool::EntryId::from_bits(1), transaction: id, recipients, folder: spool::Folder::Queue };
}
