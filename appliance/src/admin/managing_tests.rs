//! What administrators of some domains do with users, and that it ends where their domains do.

use super::access_tests::{House, status};

#[tokio::test]
async fn an_administrator_of_domains_manages_their_users_and_nobody_elses() {
    let house = House::new().await;
    let dom = house.user("dom", "domain-administrator", &["example.net", "bücher.example"]).await;
    house.user("other", "domain-administrator", &["example.org"]).await;
    house.user("both", "viewer", &["example.net", "example.org"]).await;
    house.user("all", "viewer", &[]).await;
    let order = async |verb: &str, body: &str| {
        let fields = format!("{}Origin: http://{}\r\n", dom.cookie, house.address);
        house.order(&fields, &format!("/api/v1/users/{verb}"), body).await
    };
    // What is one's own, however it is written.
    for (name, role, domains) in [
        ("one", "viewer", r#"["EXAMPLE.net"]"#),
        ("two", "domain-administrator", r#"["example.net."]"#),
        ("three", "viewer", r#"["xn--bcher-kva.example", "example.net"]"#),
    ] {
        let body = format!(r#"{{"name":"{name}","role":"{role}","domains":{domains}}}"#);
        let answer = order("add", &body).await;
        assert!(status(&answer) == 200 && answer.contains("\"code\":\""), "{answer}");
    }
    // What is not: a name that ends alike, one above, one below, somebody else's beside one's own, all, none.
    for (role, domains) in [
        ("viewer", r#"["notexample.net"]"#),
        ("viewer", r#"["net"]"#),
        ("viewer", r#"["mail.example.net"]"#),
        ("viewer", r#"["example.net","example.org"]"#),
        ("viewer", r#"["b\u0000cher.example"]"#),
        ("viewer", r#"["bucher.example"]"#),
        ("viewer", "[]"),
        ("domain-administrator", "[]"),
        ("domain-administrator", r#"["EXAMPLE.ORG"]"#),
        ("administrator", "[]"),
    ] {
        let answer = order("add", &format!(r#"{{"name":"bad","role":"{role}","domains":{domains}}}"#)).await;
        assert_eq!(status(&answer), 400, "{role} {domains}: {answer}");
        let answer = order("role", &format!(r#"{{"name":"one","role":"{role}","domains":{domains}}}"#)).await;
        assert_eq!(status(&answer), 400, "{role} {domains}: {answer}");
    }
    // Others are not there, by no path.
    for name in ["ann", "other", "both", "all", "nobody"] {
        for verb in ["passwd", "role", "totp", "passkeys", "remove"] {
            let body = format!(r#"{{"name":"{name}","role":"viewer","domains":["example.net"]}}"#);
            let answer = order(verb, &body).await;
            assert_eq!(status(&answer), 404, "{verb} {name}: {answer}");
        }
        let answer = house.form(&dom, "/users/remove", &format!("name={name}")).await;
        assert_eq!(status(&answer), 404, "{name}: {answer}");
    }
    // Nor is there a way to become more, or around one's own password.
    for (verb, name) in [("code", ""), ("passwd", "dom"), ("totp", "DOM"), ("remove", "dom"), ("role", "dom")]
    {
        let body = format!(r#"{{"name":"{name}","role":"viewer","domains":["example.net"]}}"#);
        let answer = order(verb, &body).await;
        assert_eq!(status(&answer), 400, "{verb}: {answer}");
    }
    let list = house.get(&dom.cookie, "/api/v1/users").await;
    for (name, is_there) in [
        ("one", true),
        ("two", true),
        ("three", true),
        ("dom", true),
        ("ann", false),
        ("both", false),
        ("all", false),
    ] {
        assert_eq!(list.contains(&format!("\"name\":\"{name}\"")), is_there, "{name}: {list}");
    }
    let page = house.get(&format!("{}Accept: text/html\r\n", dom.cookie), "/users").await;
    assert!(!page.contains("Administrator: everything") && !page.contains(">other<"), "{page}");
    for verb in ["passwd", "totp", "passkeys", "remove"] {
        assert_eq!(status(&order(verb, r#"{"name":"one"}"#).await), 200, "{verb}");
    }
    let ann = house.ann().await;
    let trail = house.get(&ann.cookie, "/api/v1/audit").await;
    assert!(trail.contains("users remove") && trail.contains("\"who\":\"dom\""), "{trail}");
}
