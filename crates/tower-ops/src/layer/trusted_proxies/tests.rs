use super::*;

fn proxies(networks: &[&str]) -> TrustedProxies {
    let networks: Vec<_> = networks.iter().map(|it| (*it).to_owned()).collect();
    TrustedProxies::parse(&networks).unwrap().unwrap()
}

fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
    let proxies = proxies(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    proxies.client(peer.parse().unwrap(), &map).to_string()
}

const XFF: &str = "x-forwarded-for";

#[test]
fn the_last_address_that_is_not_trusted_is_the_client() {
    for (value, expected) in [
        ("203.0.113.9", "203.0.113.9:0"),
        ("203.0.113.9:4711", "203.0.113.9:4711"),
        // What a client says itself stands on the left.
        ("1.1.1.1, 203.0.113.9", "203.0.113.9:0"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9:0"),
        ("203.0.113.9,10.1.2.3,192.0.2.1", "203.0.113.9:0"),
        ("1.1.1.1,203.0.113.9 , 10.1.2.3", "203.0.113.9:0"),
        ("2001:db9::7", "[2001:db9::7]:0"),
        ("[2001:db9::7]:443", "[2001:db9::7]:443"),
        ("[2001:db9::7]", "[2001:db9::7]:0"),
        ("::ffff:203.0.113.9", "203.0.113.9:0"),
        ("203.0.113.9, 2001:db8::1", "203.0.113.9:0"),
        // All are trusted: the first one.
        ("10.0.0.7, 10.1.2.3", "10.0.0.7:0"),
        // What is no address ends the search.
        ("unknown", "10.0.0.1:80"),
        ("_hidden", "10.0.0.1:80"),
        ("203.0.113.9, unknown", "10.0.0.1:80"),
        ("203.0.113.9, unknown, 10.1.2.3", "10.1.2.3:0"),
        ("203.0.113.9, garbage, 10.1.2.3", "10.1.2.3:0"),
        ("203.0.113.9,", "10.0.0.1:80"),
        ("\"1.1.1.1, 203.0.113.9", "203.0.113.9:0"),
        ("203.0.113.9:99999", "10.0.0.1:80"),
        ("203.0.113.256", "10.0.0.1:80"),
        ("", "10.0.0.1:80"),
    ] {
        assert_eq!(
            client("10.0.0.1:80", &[(XFF, value)]),
            expected,
            "{value:?}"
        );
    }
}

#[test]
fn forwarded_is_read_as_rfc_7239_has_it() {
    for (value, expected) in [
        ("for=203.0.113.9", "203.0.113.9:0"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9:0"),
        ("proto=http; for=\"203.0.113.9:4711\"", "203.0.113.9:4711"),
        ("for=\"[2001:db9::7]:443\"", "[2001:db9::7]:443"),
        ("for=\"[2001:db9::7]\"", "[2001:db9::7]:0"),
        ("for=\"203.0.113.9:_port\"", "203.0.113.9:0"),
        (
            "for=1.1.1.1, for=203.0.113.9, for=10.1.2.3",
            "203.0.113.9:0",
        ),
        ("for=203.0.113.9;host=\"a,for=1.1.1.1\"", "203.0.113.9:0"),
        (
            "for=203.0.113.9;host=\"a\\\",for=1.1.1.1\"",
            "203.0.113.9:0",
        ),
        ("for=203.0.113.9, for=unknown", "10.0.0.1:80"),
        ("for=203.0.113.9, for=_gazonk", "10.0.0.1:80"),
        ("for=203.0.113.9, proto=https", "10.0.0.1:80"),
        ("for=203.0.113.9;for=1.1.1.1", "10.0.0.1:80"),
        // A client's quote must not swallow what the proxy adds.
        (
            "for=1.1.1.1;host=\", for=203.0.113.9;host=\"a\"",
            "10.0.0.1:80",
        ),
        (
            "for=1.1.1.1;host=\"\\\", for=203.0.113.9;host=\"a\"",
            "10.0.0.1:80",
        ),
        ("203.0.113.9", "10.0.0.1:80"),
    ] {
        let header = [("forwarded", value)];
        assert_eq!(client("10.0.0.1:80", &header), expected, "{value:?}");
    }
}

#[test]
fn several_lines_are_one_list_and_two_headers_have_to_agree() {
    let lines = [(XFF, "1.1.1.1, 203.0.113.9"), (XFF, "10.1.2.3")];
    assert_eq!(client("10.0.0.1:80", &lines), "203.0.113.9:0");
    let both = [("forwarded", "for=203.0.113.9"), (XFF, "203.0.113.9")];
    assert_eq!(client("10.0.0.1:80", &both), "203.0.113.9:0");
    let both = [("forwarded", "for=1.1.1.1"), (XFF, "203.0.113.9")];
    assert_eq!(client("10.0.0.1:80", &both), "10.0.0.1:80");
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
    for peer in ["203.0.113.5:9", "192.0.2.2:9", "[2001:db9::1]:9"] {
        let headers = [(XFF, "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(client(peer, &headers), peer);
        assert_eq!(client(peer, &headers[..1]), peer);
    }
    for peer in ["[::ffff:10.0.0.1]:9", "192.0.2.1:9", "[2001:db8::1]:9"] {
        assert_eq!(client(peer, &[(XFF, "1.1.1.1")]), "1.1.1.1:0");
        assert_eq!(client(peer, &[]), peer);
    }
}

#[test]
fn networks_are_parsed_and_wrong_ones_are_named_all_at_once() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
        ("::1", "::1", "::2"),
        ("fd00::/8", "fdff::1", "fe00::1"),
    ] {
        let proxies = proxies(&[network]);
        assert!(proxies.trusts(inside.parse().unwrap()), "{network}");
        assert!(!proxies.trusts(outside.parse().unwrap()), "{network}");
    }
    assert!(proxies(&["::/0"]).trusts("1.1.1.1".parse().unwrap()));
    let wrong = [
        "10.0.0.0/33",
        "10.0.0.1/8",
        "fd00::1/8",
        "::/129",
        "10.0.0/8",
        "ten",
        "10.0.0.0/",
        "",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
    ];
    let wrong = wrong.map(str::to_owned);
    assert_eq!(
        TrustedProxies::parse(&wrong).unwrap_err().len(),
        wrong.len()
    );
}
