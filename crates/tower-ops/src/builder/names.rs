use http::HeaderName;

/// Returns whether servers or proxies act on the header, so that an id in it breaks requests.
pub(super) fn is_of_http(name: &HeaderName) -> bool {
    use http::header;

    [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
}

pub(super) fn is_grpc_method(method: &str) -> bool {
    method.split_once('/').is_some_and(|(service, name)| {
        !service.is_empty() && !name.is_empty() && !name.contains('/')
    })
}
