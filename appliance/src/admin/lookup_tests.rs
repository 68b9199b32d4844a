//! What is found in the trace, by the page and by programs.

use super::tests::{FINE, ask, start, start_with};
use crate::recorder::samples;

#[tokio::test]
async fn a_message_is_found_by_its_subject_and_the_list_goes_on() {
    let (address, _stop) = start(FINE, true).await;
    let page = ask(address, "localhost", "/messages?q=rechnung+nr.+7&from=&since=").await;
    assert!(page.contains("Rechnung Nr. 7") && !page.contains("Rechnung Nr. 8"), "{page}");
    let id = samples::transaction(7).id;
    assert!(page.contains(&format!("/transactions/{id}")) && page.contains("value=\"rechnung nr. 7\""));
    for (question, count) in [
        ("subject=RECHNUNG", 4),
        ("verdict=tag&to=bob", 4),
        ("verdict=unjudged", 5),
        ("outcome=refused", 1),
        ("q=192.0.2.", 9),
        ("q=%3C7.one@mail", 1),
        ("ip=192.0.2.8", 0),
        ("until=2020-01-01", 0),
    ] {
        let answer = ask(address, "localhost", &format!("/api/v1/transactions?{question}")).await;
        assert_eq!(answer.matches("\"settled_in_ms\"").count(), count, "{question}");
    }
    let first = ask(address, "localhost", "/api/v1/transactions?last=5&verdict=unjudged").await;
    assert!(!first.contains("\r\nlink: "), "all there is: {first}");
    let first = ask(address, "localhost", "/api/v1/transactions?last=4&verdict=unjudged").await;
    let next = first.split_once("\r\nlink: <").unwrap().1.split_once('>').unwrap().0;
    assert_eq!(ask(address, "localhost", next).await.matches("\"settled_in_ms\"").count(), 1);
    let further = ask(address, "localhost", "/messages?last=4&verdict=unjudged").await;
    assert!(further.contains("Further back"));
    let wrong = ask(address, "localhost", "/messages?ip=mail.example").await;
    assert!(wrong.starts_with("HTTP/1.1 400") && wrong.contains("role=\"alert\""), "{wrong}");
    let hostile = ask(address, "localhost", "/messages?q=%22%3E%3Cscript%3E").await;
    assert!(!hostile.contains("<script>"), "{hostile}");
}

#[tokio::test]
async fn everything_that_is_kept_can_be_had_without_words_of_messages() {
    let (address, _stop) = start(FINE, true).await;
    let all = ask(address, "localhost", "/api/v1/trace?after=0").await;
    assert_eq!(all.matches("\"transaction\":{").count(), 9);
    assert_eq!(all.matches("\"session\":{").count(), 11);
    assert!(
        all.contains("Rechnung Nr. 7") && !all.contains("rechnung offen") && all.contains("\"next\":null")
    );
    let id = samples::transaction(7).id;
    let story = ask(address, "localhost", &format!("/api/v1/transactions/{id}")).await;
    assert!(story.contains("rechnung offen"), "memory has them: {story}");
}

#[tokio::test]
async fn without_a_trace_on_disk_memory_answers() {
    let (address, _stop) = start_with(FINE, true, None).await;
    let answer = ask(address, "localhost", "/api/v1/transactions?subject=rechnung&last=3").await;
    assert_eq!(answer.matches("\"settled_in_ms\"").count(), 3);
    assert!(ask(address, "localhost", "/api/v1/trace").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "localhost", "/messages").await.contains("Rechnung Nr. 7"));
    let session = ask(address, "localhost", &format!("/api/v1/sessions/{}", samples::session_id())).await;
    assert_eq!(session.matches("\"settled_in_ms\"").count(), 9);
}

#[tokio::test]
async fn metrics_have_closed_labels_and_the_gauges_of_now() {
    let (address, _stop) = start(FINE, true).await;
    let text = ask(address, "localhost", "/metrics").await;
    for line in [
        "postern_messages_total{protocol=\"smtp\",verdict=\"unjudged\",outcome=\"accepted\"} 3",
        "postern_abuse_total{reason=\"too_many_errors\"} 1",
        "postern_server_up{backend=\"exchange\",server=\"10.0.0.11:25\"} 0",
        "postern_open_sessions 12",
        "postern_in_flight_bytes 3145728",
        "postern_settled_seconds_count 7",
        "postern_certificate_expiry_seconds{name=\"mx1.example.net\"} 1800000000",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("alice"));
}
