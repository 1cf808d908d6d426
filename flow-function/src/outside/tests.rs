use reqwest::Method;

use super::*;

fn allow(text: &str) -> HttpAllow {
    text.parse().unwrap()
}

/// None of these is public.
const REFUSED: &[&str] = &[
    "http://127.0.0.1/",
    "http://127.255.255.254:8080/x",
    // As a URL parser reads them: decimal, hexadecimal, octal, short, wide, escaped.
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://169.254.169.254/latest/meta-data",
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]:80/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:10.0.0.1]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:1::1]/",
    "http://[2001::1]/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "https://10.0.0.1/",
];

#[test]
fn only_public_addresses_are_called_however_they_are_written() {
    for refused in REFUSED {
        let reason = check_url(refused, &allow("")).unwrap_err();
        assert!(
            reason.contains("TURLOUGH_HTTP_ALLOW"),
            "{refused}: {reason}"
        );
    }
    for public in [
        "http://1.1.1.1/",
        "http://172.15.0.1/",
        "http://172.32.0.1/",
        "http://100.63.0.1/",
        "http://100.128.0.1/",
        "http://169.253.1.1/",
        "http://192.0.1.1/",
        "http://223.255.255.255/",
        "http://16843009/",
        "http://[2606:4700:4700::1111]/",
        "http://[::ffff:1.1.1.1]/",
        "https://example.com/x?y=z",
        // A name is judged by what it stands for.
        "http://localhost/",
    ] {
        assert!(check_url(public, &allow("")).is_ok(), "{public}");
    }
}

#[test]
fn only_http_is_called() {
    for bad in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://x/",
        "/path",
        "",
        "http://",
    ] {
        assert!(check_url(bad, &allow("private")).is_err(), "{bad}");
    }
}

#[test]
fn what_is_allowed_is_called_and_nothing_beside_it() {
    let check = |rules: &str, url: &str, expected: bool| {
        let found = check_url(url, &allow(rules));
        assert_eq!(found.is_ok(), expected, "{rules} {url}: {found:?}");
    };
    check("private", "http://10.0.0.1/", true);
    check("private", "http://[fd00::1]/", true);
    check("private", "http://100.64.0.1/", true);
    check("private", "http://127.0.0.1/", false);
    check("private", "http://169.254.169.254/", false);
    check("127.0.0.0/8", "http://127.1.2.3/", true);
    check("127.0.0.0/8", "http://[::ffff:127.0.0.1]/", true);
    check("127.0.0.0/8", "http://[::1]/", false);
    check("10.1.0.0/16, ::1", "http://[::1]/", true);
    check("10.1.0.0/16, ::1", "http://10.2.0.1/", false);
    check("127.0.0.1", "http://127.0.0.1:9/", true);
    check("127.0.0.1", "http://127.0.0.2/", false);
    check("127.0.0.1:8080", "http://127.0.0.1:8080/", true);
    check("127.0.0.1:8080", "http://127.0.0.1:8081/", false);
    check("127.0.0.1:80", "http://127.0.0.1/", true);
    check("[::1]:8080", "http://[::1]:8080/", true);
    check("[::1]:8080", "http://[::1]/", false);
    check("10.0.0.0/8, 10.0.0.1:80", "http://10.0.0.1:81/", true);
    check("Vault:8200", "http://vault:8200/", true);
    check("vault:8200", "http://VAULT.:8200/", true);
    check("vault:8200", "http://vault:22/", false);
    check("vault", "http://vault:22/", true);
    for bad in [
        "10.0.0.0/33",
        "a b",
        "http://x",
        "x/y",
        "user@x",
        "x:99999",
        "x:y",
        "a?b",
        ":80",
    ] {
        assert!(bad.parse::<HttpAllow>().is_err(), "{bad}");
    }
}

#[test]
fn of_a_name_only_what_may_be_called_is_left() {
    let socket = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
    let (inner, outer) = (socket("10.0.0.1"), socket("1.1.1.1"));
    let judge =
        |rules: &str, found: &[SocketAddr]| judged(&allow(rules), "db.local", found.to_vec());
    assert_eq!(judge("", &[inner, outer]), Ok(vec![outer]));
    assert!(judge("", &[inner]).is_err());
    assert_eq!(judge("private", &[inner]), Ok(vec![inner]));
    assert_eq!(judge("db.local", &[inner]), Ok(vec![inner]));
    assert_eq!(
        judge("db.local:80", &[inner]),
        Ok(vec![inner]),
        "the port is held to before"
    );
    assert!(judge("other.local", &[inner]).is_err());
    assert_eq!(judge("", &[]), Ok(vec![]));
}

#[tokio::test]
async fn a_name_that_stands_for_this_machine_is_refused_when_it_is_called() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    assert!(check_url(&url, &allow("")).is_ok());
    let get = async |allow| {
        let outside = Outside::new(&allow).unwrap();
        outside.send(outside.request(Method::GET, &url)).await
    };
    let error = get(allow("")).await.unwrap_err();
    let refused = Refused::of(&error).unwrap();
    assert_eq!(
        refused.to_string(),
        "address localhost is this machine's own; allow it by TURLOUGH_HTTP_ALLOW"
    );
    // Allowed, the call arrives.
    let accepting = async { drop(listener.accept().await.unwrap()) };
    let (called, ()) = tokio::join!(get(allow("localhost")), accepting);
    let error = called.unwrap_err();
    assert!(Refused::of(&error).is_none(), "{error:?}");
    let told = chain(&error);
    assert!(told.contains(": ") && !told.contains("localhost"), "{told}");
}
