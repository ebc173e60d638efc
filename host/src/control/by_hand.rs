//! Opening and closing by hand: what somebody asks for goes the way of a verdict, as that of a rule that may do with every door what the door
//! allows. So it is bounded, recorded and reported like any other.

use std::time::Duration;

use postern_capture::Shown;
use postern_core::{Client, CloseRequest, Event, OpenRequest, OpeningState, Report, Request, RuleId, What};
use postern_protocol::{Changed, CloseDoor, OpenDoor, Refusal, Reply};
use tokio::time::timeout;

use super::access::View;
use super::desk::{Desk, millis};
use super::listening::Listening;
use super::subscribers::Wanted;

/// How long an answer of a door is waited for; a command may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for by hand.
struct Wish {
    door: String,
    client: Client,
    request: Request,
    closes: bool,
}

impl Desk {
    pub(super) async fn open_by_hand(&self, open: OpenDoor, uid: u32) -> Result<Reply, Refusal> {
        let OpenDoor { door, client, lasts_ms } = open;
        let client = self.check(&door, &client)?;
        let lasts = lasts_ms.map(Duration::from_millis);
        if lasts.is_some_and(|lasts| lasts.is_zero()) {
            let parameter = "lasts_ms: 0 opens nothing; close the door instead".to_owned();
            return Err(Refusal::InvalidParameter { parameter });
        }
        let request = OpenRequest {
            door: Some(door.as_str().into()),
            prefix_length: prefix_length(client),
            lasts,
            once: None,
        };
        self.ask(Wish { door, client, request: Request::Open(vec![request]), closes: false }, uid).await
    }

    pub(super) async fn close_by_hand(&self, close: CloseDoor, uid: u32) -> Result<Reply, Refusal> {
        let CloseDoor { door, client } = close;
        let client = self.check(&door, &client)?;
        if self.left(&door, client).is_none() {
            let name = format!("{door} for {}", Shown(client));
            let there_are = "see what is open: postern doors".to_owned();
            return Err(Refusal::NotFound { kind: "opening".to_owned(), name, there_are });
        }
        let request = CloseRequest { door: Some(door.as_str().into()), prefix_length: prefix_length(client) };
        self.ask(Wish { door, client, request: Request::Close(vec![request]), closes: true }, uid).await
    }

    fn check(&self, door: &str, client: &str) -> Result<Client, Refusal> {
        self.check_door(door, &View::All)?;
        client.parse().map_err(|wrong| Refusal::InvalidParameter {
            parameter: format!("client: `{client}` is {wrong}; write such as 192.0.2.7 or 2001:db8::/64"),
        })
    }

    /// Has the engine do it, and waits for what comes of it.
    async fn ask(&self, wish: Wish, uid: u32) -> Result<Reply, Refusal> {
        let Wish { door, client, request, closes } = wish;
        let rule = RuleId::by_hand();
        // What is closed by hand is closed for everybody, and each owner hears that of its own rule.
        let wanted = Wanted { view: View::All, rule: None, from: Some(client.net()), kinds: None };
        // Before anything can happen.
        let mut answers = self.subscribe(wanted, Listening::Briefly, uid)?;
        let asked = Report::of_door(&door, What::ByHand { uid, closes }).with_client(client);
        postern_core::Observer::report(&*self.feed, &asked);
        let source = Client::on_link(client.address(), client.link());
        let generation = self.engine.generation();
        self.engine.handle(Event::Judged { rule, generation, source, request });
        let told = async {
            while let Some((event, _)) = answers.events.recv().await {
                let is_this = event.door.as_deref().is_none_or(|name| name == door);
                let is_by_hand = event.rule.as_deref() == Some(RuleId::BY_HAND);
                match &*event.kind {
                    "open" if is_this && is_by_hand && !closes => return Ok(()),
                    // What is being opened by somebody else's wish is not open yet.
                    "extend" if is_this && is_by_hand && !closes && self.is_open(&door, client) => {
                        return Ok(());
                    }
                    "close" if is_this && closes && self.left(&door, client).is_none() => return Ok(()),
                    "refuse" if is_this && is_by_hand => {
                        return Err(Refusal::NotDone { why: event.text });
                    }
                    "stuck" if is_this && closes => return Err(Refusal::NotDone { why: event.text }),
                    _ => {}
                }
            }
            Err(Refusal::NotDone { why: "the daemon is stopping".to_owned() })
        };
        match timeout(PATIENCE, told).await {
            Ok(done) => done?,
            Err(_) => {
                let why = format!(
                    "it was ordered, and door {door} has not answered within {} s; see postern doors",
                    PATIENCE.as_secs()
                );
                return Err(Refusal::NotDone { why });
            }
        }
        let left_ms = if closes { 0 } else { self.left(&door, client).map_or(0, millis) };
        Ok(Reply::Changed(Changed { door, client: Shown(client).to_string(), left_ms }))
    }

    fn is_open(&self, door: &str, client: Client) -> bool {
        let openings = self.engine.openings_of(client);
        openings.iter().any(|open| *open.door == *door && open.state == OpeningState::Open)
    }

    /// For how long a door is open for a client, whoever has it open.
    fn left(&self, door: &str, client: Client) -> Option<Duration> {
        let is_it = |open: &crate::shared_engine::OpenDoor| {
            open.key.client == client
                && *open.door == *door
                && !matches!(open.state, OpeningState::Closing { .. })
        };
        self.engine.openings_of(client).into_iter().filter(is_it).map(|open| open.left).max()
    }
}

/// The width around the source; none of one address.
const fn prefix_length(client: Client) -> Option<u8> {
    if client.is_single() { None } else { Some(client.width()) }
}
