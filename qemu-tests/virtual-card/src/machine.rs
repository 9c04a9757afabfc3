//! Card, wire and orders together: one thread acts on one queue of events.

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    card::{Card, State},
    fault::{Fault, Kind},
    wire::{Link, Message, Wire},
};

/// Pause between two tries to reach a socket nobody listens on yet.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);

/// How long a card stays out at least, as in a hand: pcscd polls every 0.4 s, and a card that is
/// back before the next poll stays lost to it.
const OUT_AT_LEAST: Duration = Duration::from_secs(1);

/// An order from the control socket or a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take the card out of the reader.
    Remove,
    /// Put it in again.
    Insert,
    /// Put another card in, the one in this folder. Only after the first was taken out.
    Put(PathBuf),
    /// Take it out and end.
    Quit,
}

/// What may happen.
pub(crate) enum Event {
    /// The other side spoke on the connection with this number.
    Message(u64, Message),
    /// The connection with this number is gone.
    Closed(u64),
    /// Do this and answer when done.
    Order(Order, Option<Sender<()>>),
}

/// What others may want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The other side took the connection.
    Connected,
    /// The other side knows the card.
    Inserted,
    /// The card is out.
    Removed,
    /// The other side left; the card connects again by itself.
    Disconnected,
}

impl Notice {
    /// The word printed for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Inserted => "inserted",
            Self::Removed => "removed",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What VSCard will acknowledge next.
#[derive(PartialEq, Eq)]
enum Awaiting {
    Nothing,
    Reader,
    Atr,
}

/// Why a powered card stopped.
enum End {
    PowerCycle,
    OtherCard(PathBuf),
    Quit,
}

/// Everything but the card itself.
pub(crate) struct Machine<N> {
    wire: Wire,
    link: Option<Link>,
    number: u64,
    inserted: bool,
    /// Whether the other side asked for the card since the connection was made.
    announced: bool,
    removed: Option<Instant>,
    awaiting: Awaiting,
    events: Receiver<Event>,
    sender: Sender<Event>,
    notify: N,
    fault: Option<Fault>,
    /// An APDU that a fault kept from the card.
    kept: Option<Vec<u8>>,
}

impl<N: FnMut(Notice)> Machine<N> {
    /// A card in the reader, not yet connected.
    pub(crate) fn new(
        wire: Wire,
        (sender, events): (Sender<Event>, Receiver<Event>),
        notify: N,
    ) -> Self {
        Self {
            wire,
            link: None,
            number: 0,
            inserted: true,
            announced: false,
            removed: None,
            awaiting: Awaiting::Nothing,
            events,
            sender,
            notify,
            fault: None,
            kept: None,
        }
    }

    /// Something goes wrong with it.
    pub(crate) fn with(self, fault: Option<Fault>) -> Self {
        Self { fault, ..self }
    }

    /// Runs until somebody orders [`Order::Quit`].
    ///
    /// # Errors
    /// [`Order::Put`] named a folder that cannot be a card.
    pub(crate) fn run(mut self, mut state: State) -> Result<()> {
        loop {
            match state.power_cycle(|card| self.serve(card)) {
                End::PowerCycle => {}
                End::OtherCard(folder) => {
                    // Its lock may be the one we hold.
                    drop(state);
                    state = State::open(&folder)?;
                }
                End::Quit => return Ok(()),
            }
        }
    }

    fn serve(&mut self, card: &mut Card<'_>) -> End {
        if let Some(apdu) = self.kept.take()
            && let Some(Err(err)) = self
                .link
                .as_mut()
                .map(|link| link.answer(&card.transmit(&apdu)))
        {
            eprintln!("{}: {err}", self.wire.address());
            self.drop_link();
        }
        loop {
            let event = if self.wants_link() && !self.connect() {
                match self.events.recv_timeout(CONNECT_AGAIN) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return End::Quit,
                    Ok(event) => event,
                }
            } else {
                match self.events.recv() {
                    Err(_) => return End::Quit,
                    Ok(event) => event,
                }
            };
            let end = match event {
                Event::Message(number, message) if number == self.number => {
                    self.message(card, message).unwrap_or_else(|err| {
                        eprintln!("{}: {err:#}", self.wire.address());
                        self.drop_link();
                        Some(End::PowerCycle)
                    })
                }
                Event::Closed(number) if number == self.number && self.link.is_some() => {
                    self.drop_link();
                    Some(End::PowerCycle)
                }
                Event::Message(..) | Event::Closed(_) => None, // of a connection before
                Event::Order(order, done) => {
                    let end = self.order(order);
                    if let Some(done) = done {
                        // Whoever ordered may have left without waiting.
                        let _ = done.send(());
                    }
                    end
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// vpcd's connection is the card; QEMU's is the reader and stays without a card.
    fn wants_link(&self) -> bool {
        self.link.is_none() && (self.inserted || matches!(self.wire, Wire::VsCard(_)))
    }

    fn connect(&mut self) -> bool {
        let out = self.removed.map(|removed| removed.elapsed());
        if matches!(self.wire, Wire::Vpcd(_)) && out.is_some_and(|out| out < OUT_AT_LEAST) {
            return false;
        }
        let Ok(link) = Link::connect(self.wire) else {
            return false; // nobody listens yet
        };
        let mut reader = match link.reader() {
            Ok(reader) => reader,
            Err(err) => {
                eprintln!("{}: {err}", self.wire.address());
                return false;
            }
        };
        self.number += 1;
        let (number, sender) = (self.number, self.sender.clone());
        thread::spawn(move || {
            while let Ok(message) = reader.read() {
                if sender.send(Event::Message(number, message)).is_err() {
                    return;
                }
            }
            // The machine may be gone already; then nobody needs to know.
            let _ = sender.send(Event::Closed(number));
        });
        self.link = Some(link);
        self.announced = false;
        self.awaiting = Awaiting::Nothing;
        (self.notify)(Notice::Connected);
        true
    }

    fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.close();
            (self.notify)(Notice::Disconnected);
        }
    }

    fn message(&mut self, card: &mut Card<'_>, message: Message) -> Result<Option<End>> {
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        match message {
            Message::Apdu(apdu) if self.inserted => {
                match self.fault.as_mut().and_then(Fault::next) {
                    None => link.answer(&card.transmit(&apdu))?,
                    Some(kind) => return Ok(Some(self.go_wrong(kind, card, apdu))),
                }
            }
            Message::Apdu(_) => link.answer(&[0x6F, 0x00])?,
            Message::PowerOff | Message::Reset => return Ok(Some(End::PowerCycle)),
            Message::PowerOn | Message::Other => {}
            Message::GetAtr => {
                link.send_atr()?;
                // vpcd asks again and again, to see whether the card is still there.
                if !std::mem::replace(&mut self.announced, true) {
                    (self.notify)(Notice::Inserted);
                }
            }
            Message::Init => {
                link.add_reader()?;
                self.awaiting = Awaiting::Reader;
            }
            Message::Ack(0) if self.awaiting == Awaiting::Reader => {
                self.awaiting = Awaiting::Nothing;
                if self.inserted {
                    link.send_atr()?;
                    self.awaiting = Awaiting::Atr;
                }
            }
            Message::Ack(0) if self.awaiting == Awaiting::Atr => {
                self.awaiting = Awaiting::Nothing;
                (self.notify)(Notice::Inserted);
            }
            Message::Ack(0) => {}
            Message::Ack(code) => eprintln!("{}: refused, code {code}", self.wire.address()),
            Message::Flush => link.flushed()?,
        }
        Ok(None)
    }

    fn go_wrong(&mut self, kind: Kind, card: &mut Card<'_>, apdu: Vec<u8>) -> End {
        match kind {
            Kind::Reset => self.kept = Some(apdu),
            Kind::Pull | Kind::Lose => {
                if kind == Kind::Lose {
                    card.transmit(&apdu);
                }
                self.take_out();
                self.inserted = true; // back in as soon as a hand could
            }
        }
        End::PowerCycle
    }

    fn order(&mut self, order: Order) -> Option<End> {
        match order {
            Order::Insert | Order::Put(_) if !self.inserted => {
                self.inserted = true;
                if let (Wire::VsCard(_), Some(link)) = (self.wire, &mut self.link) {
                    if let Err(err) = link.send_atr() {
                        eprintln!("{}: {err}", self.wire.address());
                        self.drop_link();
                    }
                    self.awaiting = Awaiting::Atr;
                }
                match order {
                    Order::Put(folder) => Some(End::OtherCard(folder)),
                    _ => None, // vpcd: connecting is inserting
                }
            }
            Order::Insert | Order::Put(_) => None,
            Order::Remove | Order::Quit => {
                if self.inserted {
                    self.take_out();
                }
                match order {
                    Order::Quit => {
                        self.drop_link();
                        Some(End::Quit)
                    }
                    _ => Some(End::PowerCycle),
                }
            }
        }
    }

    /// QEMU keeps a card whose socket just dies, and every command to it hangs: say it is out.
    fn take_out(&mut self) {
        self.inserted = false;
        self.removed = Some(Instant::now());
        self.awaiting = Awaiting::Nothing;
        match self.wire {
            Wire::Vpcd(_) => self.drop_link(),
            Wire::VsCard(_) => {
                if let Some(Err(err)) = self.link.as_mut().map(Link::remove_card) {
                    eprintln!("{}: {err}", self.wire.address());
                    self.drop_link();
                }
            }
        }
        (self.notify)(Notice::Removed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;

    /// QEMU's end of the wire.
    struct Qemu(TcpStream);

    impl Qemu {
        fn accept(listener: &TcpListener) -> Self {
            let stream = listener.accept().unwrap().0;
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            Self(stream)
        }

        fn send(&mut self, kind: u32, body: &[u8]) {
            let length = u32::try_from(body.len()).unwrap();
            let header = [kind, 0, length].map(u32::to_be_bytes).concat();
            self.0.write_all(&[&header, body].concat()).unwrap();
        }

        fn expect(&mut self, kind: u32) -> Vec<u8> {
            let mut header = [0; 12];
            self.0.read_exact(&mut header).unwrap();
            let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            assert_eq!(word(0), kind);
            let mut body = vec![0; usize::try_from(word(8)).unwrap()];
            self.0.read_exact(&mut body).unwrap();
            body
        }

        fn shake_hands(&mut self) {
            let init = self.expect(1);
            assert_eq!(init, b"VSCD\x00\x00\x00\x02\x00\x00\x00\x00");
            self.send(1, &init);
            self.expect(3);
            self.send(2, &[0; 4]);
        }
    }

    fn on_a_wire(test: impl FnOnce(&TcpListener, &Sender<Event>)) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let wire = Wire::VsCard(listener.local_addr().unwrap());
        let events = mpsc::channel();
        let orders = events.0.clone();
        thread::scope(|scope| {
            scope.spawn(|| Machine::new(wire, events, |_| {}).run(state).unwrap());
            test(&listener, &orders);
            orders.send(Event::Order(Order::Quit, None)).unwrap();
        });
    }

    fn order(orders: &Sender<Event>, order: Order) {
        let (done, wait) = mpsc::channel();
        orders.send(Event::Order(order, Some(done))).unwrap();
        wait.recv().unwrap();
    }

    #[test]
    fn a_card_is_added_removed_and_put_back_as_qemu_wants_it() {
        on_a_wire(|listener, orders| {
            let mut qemu = Qemu::accept(listener);
            qemu.shake_hands();
            assert_eq!(qemu.expect(5), crate::card::ATR);
            qemu.send(2, &[0; 4]);
            qemu.send(7, b"\x00\x20\x00\x80");
            assert_eq!(qemu.expect(7), [0x63, 0xC3]);
            qemu.send(8, &[]);
            qemu.expect(9);

            order(orders, Order::Remove);
            qemu.expect(6);
            order(orders, Order::Insert);
            assert_eq!(qemu.expect(5), crate::card::ATR);
            // The reader is made anew: it says hello again and hears everything again.
            qemu.send(1, &[0; 12]);
            qemu.expect(3);
            qemu.send(2, &[0; 4]);
            assert_eq!(qemu.expect(5), crate::card::ATR);
        });
    }

    #[test]
    fn another_card_is_put_into_the_same_reader() {
        let second = tempfile::tempdir().unwrap();
        on_a_wire(|listener, orders| {
            let mut qemu = Qemu::accept(listener);
            qemu.shake_hands();
            qemu.expect(5);
            order(orders, Order::Put(second.path().to_owned())); // one is in: nothing happens
            order(orders, Order::Remove);
            qemu.expect(6);
            order(orders, Order::Put(second.path().to_owned()));
            qemu.expect(5);
            qemu.send(7, b"\x00\x20\x00\x80");
            assert_eq!(qemu.expect(7), [0x63, 0xC3]);
        });
        assert!(second.path().join("internal.lfs").exists());
    }

    #[test]
    fn a_new_qemu_gets_the_card_of_the_old_one() {
        on_a_wire(|listener, orders| {
            let mut first = Qemu::accept(listener);
            first.shake_hands();
            first.expect(5);
            drop(first);
            let mut second = Qemu::accept(listener);
            second.shake_hands();
            second.expect(5);
            order(orders, Order::Remove);
            second.expect(6);
            drop(second);
            // Without a card there is still a reader.
            Qemu::accept(listener).shake_hands();
        });
    }

    #[test]
    fn leaving_takes_the_card_out_first() {
        on_a_wire(|listener, orders| {
            let mut qemu = Qemu::accept(listener);
            qemu.shake_hands();
            qemu.expect(5);
            orders.send(Event::Order(Order::Quit, None)).unwrap();
            qemu.expect(6);
            assert_eq!(qemu.0.read(&mut [0]).unwrap(), 0);
        });
    }
}
