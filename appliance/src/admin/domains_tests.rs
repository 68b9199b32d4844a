//! What domains decide for themselves: whose it is to say, on the page and by API.

use super::access_tests::{FORM, House, status};

const BLOCK: &str = r#"{"order":"add","kind":"block","entry":"shop.example"}"#;

#[tokio::test]
async fn a_domains_entries_are_for_who_administers_it_and_others_do_not_find_it() {
    let house = House::new().await;
    let dom = house.user("dom", "domain-administrator", &["example.org"]).await;
    let sam = house.user("sam", "viewer", &["example.org"]).await;
    let eve = house.user("eve", "viewer", &[]).await;
    let own = |cookie: &str| format!("{cookie}Origin: http://{}\r\n", house.address);

    // Each sees its own, however it is written.
    for (who, domains) in [(&dom, 1), (&sam, 1), (&eve, 3)] {
        let list = house.get(&who.cookie, "/api/v1/domains").await;
        assert_eq!(list.matches("\"domain\":").count(), domains, "{list}");
        let page = house.get(&who.cookie, "/domains").await;
        assert!(page.contains("12 mailboxes") && page.contains("/domains/example.org"), "{page}");
        assert_eq!(page.contains("/domains/example.net"), domains == 3, "{page}");
        for path in ["/api/v1/domains/Example.ORG./entries", "/domains/example.org"] {
            let shown = house.get(&who.cookie, path).await;
            assert!(status(&shown) == 200 && shown.contains("trap@example.org"), "{path}: {shown}");
        }
    }
    // Others' are as if they were not there: neither to be seen, nor told apart from what is nowhere.
    let mut said = Vec::new();
    for foreign in [
        "example.net",
        "nowhere.example",
        "org",
        "sub.example.org",
        "notexample.org",
        "example.org%00",
        "%22",
    ] {
        for (method, path) in [
            ("GET", format!("/domains/{foreign}")),
            ("GET", format!("/api/v1/domains/{foreign}/entries")),
            ("POST", format!("/api/v1/domains/{foreign}/entries")),
            ("FORM", format!("/domains/{foreign}")),
        ] {
            let answer = match method {
                "GET" => house.get(&dom.cookie, &path).await,
                "POST" => house.order(&own(&dom.cookie), &path, BLOCK).await,
                _ => house.form(&dom, &path, "order=add&kind=block&entry=shop.example").await,
            };
            assert_eq!(status(&answer), 404, "{method} {path}: {answer}");
            said.push(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()));
        }
    }
    said.sort();
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");

    // One's own.
    let path = "/api/v1/domains/example.org/entries";
    assert!(house.order(&own(&dom.cookie), path, BLOCK).await.contains("\"changed\":true"));
    let removes = r#"{"order":"remove","kind":"trap","entry":"trap@example.org"}"#;
    assert_eq!(status(&house.order(&own(&dom.cookie), path, removes).await), 200);
    assert_eq!(status(&house.order(&own(&dom.cookie), path, &BLOCK.replace("add", "remove")).await), 404);
    // Who looks adds nothing, and sees no form.
    for viewer in [&sam, &eve] {
        assert_eq!(status(&house.order(&own(&viewer.cookie), path, BLOCK).await), 403);
        let answer =
            house.form(viewer, "/domains/example.org", "order=add&kind=block&entry=shop.example").await;
        assert_eq!(status(&answer), 403);
        assert!(!house.get(&viewer.cookie, "/domains/example.org").await.contains("name=\"entry\""));
    }
    // An alias leads to one's own domains; of others nothing is told.
    for (target, expected) in [
        ("ann@example.org", 200),
        ("ann@Example.ORG.", 200),
        ("ann@example.net", 403),
        ("ann@nowhere.example", 403),
        ("\\\"x@example.org\\\"@example.net", 403),
    ] {
        let order =
            format!(r#"{{"order":"add","kind":"alias","entry":"info@example.org","target":"{target}"}}"#);
        let answer = house.order(&own(&dom.cookie), path, &order).await;
        assert_eq!(status(&answer), expected, "{target}: {answer}");
    }
    let ann = house.ann().await;
    let trail = house.get(&ann.cookie, "/api/v1/audit").await;
    assert!(trail.contains("domains example.org entries"), "{trail}");
    assert!(trail.contains("entry=shop.example order=add kind=block"), "{trail}");
}

#[tokio::test]
async fn the_page_of_a_domain_works_without_scripts_and_says_why_not() {
    let house = House::new().await;
    let dom = house.user("dom", "domain-administrator", &["example.org"]).await;
    let page = house.get(&dom.cookie, "/domains/example.org").await;
    for part in [
        "block@example.org",
        "alias@example.org",
        "ann@example.org",
        "&lt;b&gt;dom",
        "name=\"target\"",
        "to other domains it goes on",
        "learnt as spam",
        "viruses never pass",
        "its server sees that one alone",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let added =
        house.form(&dom, "/domains/example.org", "order=add&kind=trap&entry=bait%40example.org").await;
    assert!(status(&added) == 303 && added.contains("location: /domains/example.org\r\n"), "{added}");
    let wrong = house.form(&dom, "/domains/example.org", "order=add&kind=trap&entry=nonsense").await;
    assert!(
        status(&wrong) == 400 && wrong.contains("role=\"alert\"") && wrong.contains("name@domain"),
        "{wrong}"
    );
    let fields = format!("{}Origin: http://{}\r\n", dom.cookie, house.address);
    let without = house
        .post(&fields, "/domains/example.org", FORM, "order=add&kind=trap&entry=bait%40example.org")
        .await;
    assert_eq!(status(&without), 403, "a form of another session");
    for form in
        ["order=x&kind=trap&entry=a", "order=add&kind=x&entry=a", "order=add&kind=trap&entry=a&more=b"]
    {
        assert_eq!(status(&house.form(&dom, "/domains/example.org", form).await), 422, "{form}");
    }
}
