//! What people do: links, acknowledgements, silences, and asking why.

use reqwest::Method;
use serde_json::json;

use crate::instance::{Instance, until};
use crate::smtp::{Options, Received, Server};
use crate::support::*;

const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// The path of the first link of that kind in the text of a mail.
fn link(mail: &Received, action: &str) -> String {
    let text = message(mail).body_text(0).unwrap().into_owned();
    let prefix = format!("https://hive.example.org/links/{action}/");
    let found = text.split_whitespace().find(|word| word.starts_with(&prefix));
    let found = found.unwrap_or_else(|| panic!("no link to {action} in:\n{text}"));
    found
        .strip_prefix("https://hive.example.org")
        .unwrap()
        .trim_end_matches(['>', ')', '.'])
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_asks_first_and_what_it_does_is_seen_everywhere() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
    let place = place(
        &server,
        &format!(
            "group_wait = '0s'\ngroup_interval = '0s'\npublic_url = 'https://hive.example.org'\nlink_key_file = {:?}",
            key.path()
        ),
        "[[rules]]\nname = 'hot'\nmatch = { metric = 't' }\ncondition = { above = 80.0 }\nlevel = { warning = 1.0, critical = 1.5 }",
    );
    let instance = Instance::start(&place).await;
    let api = &instance.api;
    let mut said = reading(HOSTILE, 0, 93.5);
    said["tags"] = json!({"site": "a <b>"});
    assert_eq!(api.ingest(&said).await.status, 200);
    let mails = server.received(1).await;
    let html = message(&mails[0]).body_html(0).unwrap().into_owned();
    assert!(html.contains("&lt;img") && !html.contains("<img src=x"), "{html}");
    let alert = alerts(api, "state=open").await.remove(0);
    assert_eq!(alert["sensor_id"], HOSTILE);
    let id = alert["alert"].as_str().unwrap();

    // A scanner opens the link.
    let path = link(&mails[0], "acknowledge");
    let page = api.text(&path).await;
    assert!(
        page.contains("<form") && page.contains("&lt;img") && !page.contains("<img"),
        "{page}"
    );
    assert_eq!(alerts(api, "state=open").await[0]["acknowledged"], json!(null));
    let forged = api
        .request(Method::GET, &format!("{path}x"))
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
    let silence = path.replace("/acknowledge/", "/silence/");
    assert_eq!(
        api.request(Method::POST, &silence).send().await.unwrap().status(),
        403,
        "of one purpose"
    );
    let none = api.request(Method::GET, "/links/delete/x").send().await.unwrap();
    assert_eq!(none.status(), 404);

    // A person presses the button.
    let pressed = api
        .request(Method::POST, &path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("by=ada+%3Cb%3E&comment=on%0D%0Amy+way");
    let pressed = pressed.send().await.unwrap();
    assert_eq!(pressed.status(), 200);
    let done = pressed.text().await.unwrap();
    assert!(
        done.contains("ada &lt;b&gt;") && !done.contains("ada <b>"),
        "{done}"
    );
    let acknowledged = alerts(api, "state=open").await.remove(0);
    assert_eq!(acknowledged["acknowledged"]["by"], "ada <b>");
    assert!(
        api.text(&path).await.contains("ada &lt;b&gt;"),
        "somebody was faster"
    );
    let counts = api.get("/api/alerts/counts").await;
    assert_eq!(
        (&counts["open"], &counts["unacknowledged"]),
        (&json!(1), &json!(0))
    );
    let audit = api.get("/api/admin/audit").await;
    assert_eq!(audit["data"][0]["who"], "a link sent to ops");

    // Silenced, what gets worse is not told, but the end is; and it says why.
    let body = json!({"matchers": {"site": "a*"}, "duration": "1h", "comment": "cleaning"});
    let made = api.post("/api/silences", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(api.ingest(&reading(HOSTILE, 10, 130.0)).await.status, 200);
    let why = until("a decision", async || {
        let explained = api.get(&format!("/api/alerts/{id}/explain")).await;
        let held = explained["decisions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|said| said["what"] == "held");
        held.then_some(explained)
    })
    .await;
    let what: Vec<_> = why["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| said["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["routed", "told", "held"]);
    assert_eq!(api.ingest(&reading(HOSTILE, 20, 20.0)).await.status, 200);
    let mails = server.received(2).await;
    assert!(subject(&mails[1]).contains("RESOLVED"), "{}", subject(&mails[1]));
    all_sent(&place).await;
    let log = api.get(&format!("/api/notifications?alert={id}")).await;
    let states: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sent| (&sent["state"], &sent["taken"]))
        .collect();
    assert_eq!(states, [(&json!("sent"), &json!(["ops@example.org"])); 2]);
    assert!(!place.log().contains("<img src=x onerror=alert(1)>\n"));
    assert_eq!(server.received(2).await.len(), 2);
}
