//! The resolver of node names, for programs of this host.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA};
use hickory_server::proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use meshd_contract::paths::DNS_PORT;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::Error;
use super::names::Names;
use super::socket;

/// How long a program may keep an answer, in seconds: a name can move within a mesh.
const TTL: u32 = 60;
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_BUFFERED_ANSWERS: usize = 16;
const STOP_TIME: Duration = Duration::from_secs(1);

/// A running resolver; dropping it ends it.
pub struct Dns {
    server: Server<Handler>,
}

impl Dns {
    /// Answers on these addresses.
    ///
    /// # Errors
    /// [`Error::Network`] when a socket cannot be had.
    pub fn start(addresses: &[IpAddr], names: watch::Receiver<Arc<Names>>) -> Result<Self, Error> {
        let mut server = Server::new(Handler { names });
        for address in addresses {
            let address = SocketAddr::new(*address, DNS_PORT);
            let fault = |error| Error::network(format!("listening for DNS on {address}"), error);
            let (udp, tcp) = sockets(address).map_err(fault)?;
            server.register_socket(udp);
            server.register_listener(tcp, TCP_TIMEOUT, TCP_BUFFERED_ANSWERS);
        }
        Ok(Self { server })
    }

    /// Stops answering; ends when the ports are free.
    pub async fn stop(mut self) {
        let stopped = timeout(STOP_TIME, self.server.shutdown_gracefully()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::debug!("the resolver did not stop in time");
        }
    }
}

fn sockets(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::from_std(socket::udp(address)?.into())?;
    let listener = socket::tcp_listener(address, None)?;
    socket::listen(&listener)?;
    let tcp = TcpListener::from_std(listener.into())?;
    Ok((udp, tcp))
}

struct Handler {
    names: watch::Receiver<Arc<Names>>,
}

/// An answer to one question.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: ResponseCode,
    addresses: Vec<IpAddr>,
}

impl Answer {
    fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            addresses: Vec::new(),
        }
    }
}

/// What a question for this name and type is answered with.
///
/// A known name without the wanted type is "no data", never "no such domain", or a program that
/// asks for AAAA first would give up on a name that has an A (RFC 8020).
fn answer(names: &Names, name: &str, class: DNSClass, wanted: RecordType) -> Answer {
    if class != DNSClass::IN || !names.is_responsible_for(name) {
        return Answer::empty(ResponseCode::Refused);
    }
    let Some(addresses) = names.addresses_of(name) else {
        return Answer::empty(if names.is_domain(name) {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        });
    };
    let fits = |address: &IpAddr| match wanted {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    Answer {
        code: ResponseCode::NoError,
        addresses: addresses.both().into_iter().filter(fits).collect(),
    }
}

fn respond(names: &Names, request: &Request) -> (ResponseCode, Vec<Record>) {
    let Ok(info) = request.request_info() else {
        return (ResponseCode::FormErr, Vec::new());
    };
    let is_query = info.metadata.op_code == OpCode::Query;
    if !is_query || !names.is_own(request.src().ip()) {
        return (ResponseCode::Refused, Vec::new());
    }
    let name = info.query.original().name();
    let kind = (info.query.query_class(), info.query.query_type());
    let answer = answer(names, &name.to_ascii(), kind.0, kind.1);
    let record = |address| {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        Record::from_rdata(name.clone(), TTL, data)
    };
    let records = answer.addresses.into_iter().map(record).collect();
    (answer.code, records)
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let names = Arc::clone(&self.names.borrow());
        let (code, records) = respond(&names, request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = code != ResponseCode::Refused;
        metadata.response_code = code;
        let builder = MessageResponseBuilder::from_message_request(request);
        let message = builder.build(metadata, records.iter(), [], [], []);
        handle.send_response(message).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a DNS answer was not sent");
            let counts = HeaderCounts::default();
            Header { metadata, counts }.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::names::tests::{addresses, document};

    fn ask(name: &str, wanted: RecordType) -> (ResponseCode, Vec<IpAddr>) {
        let names = Names::from_document(&document());
        let answer = answer(&names, name, DNSClass::IN, wanted);
        (answer.code, answer.addresses)
    }

    #[test]
    fn a_name_has_one_address_of_each_family() {
        let v4 = vec![addresses(2).v4.into()];
        let v6 = vec![addresses(2).v6.into()];
        assert_eq!(
            ask("laptop.", RecordType::A),
            (ResponseCode::NoError, v4.clone())
        );
        assert_eq!(
            ask("LapTop.Mesh.internal.", RecordType::A),
            (ResponseCode::NoError, v4)
        );
        assert_eq!(
            ask("laptop.", RecordType::AAAA),
            (ResponseCode::NoError, v6)
        );
        assert_eq!(ask("web1.", RecordType::A).1, [addresses(1).v4]);
    }

    #[test]
    fn a_known_name_without_the_type_is_no_data() {
        assert_eq!(
            ask("laptop.", RecordType::MX),
            (ResponseCode::NoError, vec![])
        );
        assert_eq!(
            ask("mesh.internal.", RecordType::A),
            (ResponseCode::NoError, vec![])
        );
    }

    #[test]
    fn an_unknown_name_is_told_from_a_foreign_one() {
        assert_eq!(ask("nobody.", RecordType::A).0, ResponseCode::NXDomain);
        assert_eq!(
            ask("nobody.mesh.internal.", RecordType::A).0,
            ResponseCode::NXDomain
        );
        for name in ["example.com.", ".", "a.laptop."] {
            assert_eq!(ask(name, RecordType::A).0, ResponseCode::Refused, "{name}");
        }
    }

    #[test]
    fn another_class_is_refused() {
        let names = Names::from_document(&document());
        let answer = answer(&names, "laptop.", DNSClass::CH, RecordType::A);
        assert_eq!(answer.code, ResponseCode::Refused);
    }
}
