//! The six metadata services, each as strict as the real one: what lacks its header, its token or its version is refused. And
//! services that are slow, endless, broken or not there.

use std::time::Duration;

use crate::imitations::{DATA, azure, digital_ocean, ec2, gcp, hetzner, openstack};
use crate::service::{Behaviour, Reply, Request, Service};
use first_boot::FirstBootError;
use first_boot::metadata::{Client, Cloud, ask};
use first_boot::seed::Seed;

const SHORT: Duration = Duration::from_millis(400);

async fn asked(cloud: Cloud, behaviour: Behaviour) -> (Result<Seed, FirstBootError>, Vec<Request>) {
    let service = Service::start(behaviour).await;
    let client = Client::new(service.address).with_patience(SHORT);
    let seed = ask(cloud, &client, Duration::ZERO).await;
    (seed, service.requests())
}

fn imitation(cloud: Cloud) -> fn(&Request) -> Reply {
    match cloud {
        Cloud::Ec2 => ec2,
        Cloud::Gcp => gcp,
        Cloud::Azure => azure,
        Cloud::OpenStack => openstack,
        Cloud::Hetzner => hetzner,
        Cloud::DigitalOcean => digital_ocean,
    }
}

#[tokio::test]
async fn each_service_gives_name_user_data_and_network() {
    for (cloud, id, name, has_network) in [
        (Cloud::Ec2, "i-0123456789abcdef0", "ip-10-0-0-7.ec2.internal", false),
        (Cloud::Gcp, "5414354837268435", "mx1.c.project.internal", false),
        (Cloud::Azure, "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "mx1", false),
        (Cloud::OpenStack, "83679162-1378-4288-a2d4-70e13ec132aa", "mx1.novalocal", true),
        (Cloud::Hetzner, "42", "mx1", true),
        (Cloud::DigitalOcean, "2756294", "mx1", true),
    ] {
        let (seed, requests) = asked(cloud, Behaviour::Answers(imitation(cloud))).await;
        let seed = seed.unwrap();
        assert_eq!((seed.instance_id.as_str(), seed.hostname.unwrap().as_str()), (id, name), "{cloud}");
        assert_eq!(seed.user_data.as_deref(), Some(DATA.as_bytes()), "{cloud}");
        let network = seed.network.map(|network| network.unwrap().interfaces.len());
        assert_eq!(network, has_network.then_some(1), "{cloud}");
        assert!(requests.iter().all(|request| request.field("host").is_some()), "{cloud}");
    }
}

#[tokio::test]
async fn the_imitations_are_strict() {
    // Each cloud's client at every other cloud's service: none is taken for another.
    for cloud in Cloud::ALL {
        for other in Cloud::ALL.into_iter().filter(|other| *other != cloud) {
            let (seed, requests) = asked(cloud, Behaviour::Answers(imitation(other))).await;
            assert!(seed.is_err(), "{cloud} at {other}: {seed:?}");
            assert!(!requests.is_empty());
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for_first_and_carried_everywhere() {
    let (_, requests) = asked(Cloud::Ec2, Behaviour::Answers(ec2)).await;
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("PUT", "/latest/api/token"));
    assert!(requests.len() > 2);
    assert!(requests[1..].iter().all(|request| request.field("x-aws-ec2-metadata-token").is_some()));
    // A token that would break out of its header field is none.
    let (seed, requests) = asked(Cloud::Ec2, Behaviour::Answers(|_| Reply::text("a\r\nX-Other: b"))).await;
    assert!(seed.is_err() && requests.len() == 1, "{seed:?}");
}

#[tokio::test]
async fn who_answers_for_google_says_so() {
    let without = |request: &Request| Reply { fields: Vec::new(), ..gcp(request) };
    let (seed, _) = asked(Cloud::Gcp, Behaviour::Answers(without)).await;
    assert!(seed.unwrap_err().to_string().contains("no `Metadata-Flavor: Google`"));
}

#[tokio::test]
async fn without_user_data_there_is_none() {
    for cloud in Cloud::ALL {
        let (seed, _) = asked(cloud, Behaviour::AnswersBut(imitation(cloud), "user")).await;
        // Azure has it inside of its one document.
        let expected = (cloud == Cloud::Azure).then(|| DATA.as_bytes().to_vec());
        assert_eq!(seed.unwrap().user_data, expected, "{cloud}");
    }
}

#[tokio::test]
async fn a_service_that_misbehaves_costs_neither_time_nor_memory() {
    for cloud in Cloud::ALL {
        for (behaviour, said) in [
            (Behaviour::Silent, "no whole answer"),
            (Behaviour::Drips, "no whole answer"),
            (Behaviour::Endless, "more than 262144 octets"),
            (Behaviour::EndlessHead, ""),
            (Behaviour::Garbage, ""),
            (Behaviour::Closes, ""),
            (Behaviour::CutsShort, ""),
            (Behaviour::Redirects, "302"),
            (Behaviour::Answers(|_| Reply::status(500)), "500"),
        ] {
            let words = format!("{behaviour:?}");
            let began = tokio::time::Instant::now();
            let (seed, _) = asked(cloud, behaviour).await;
            let error = seed.unwrap_err().to_string();
            assert!(error.contains(said), "{cloud}, {words}: {error}");
            assert!(began.elapsed() < SHORT * 4, "{cloud}, {words}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    for cloud in [Cloud::Azure, Cloud::OpenStack, Cloud::Hetzner, Cloud::DigitalOcean] {
        for text in ["{", "\u{0}", "[1, 2", "&a [*a, *a", "'"] {
            let (seed, _) = asked(cloud, Behaviour::Says(text)).await;
            let network_at_least = |seed: &Seed| seed.network.as_ref().is_some_and(Result::is_err);
            assert!(seed.as_ref().map_or(true, network_at_least), "{cloud}, {text:?}: {seed:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_and_a_service_that_comes_later_is_waited_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(free).with_patience(SHORT);
    let error = ask(Cloud::Ec2, &client, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, FirstBootError::GaveUp { .. }), "{error}");
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Service::start_at(free, Behaviour::Answers(ec2)).await
    });
    let seed = ask(Cloud::Ec2, &client, Duration::from_secs(10)).await.unwrap();
    assert_eq!(seed.instance_id, "i-0123456789abcdef0");
    drop(later);
}
