use proptest::prelude::*;

use super::{
    script::{Same, Script},
    tlv::{Tlv, TlvError, find, put, take},
    *,
};

fn get_data(data: &[u8], answers: Answers) -> Command<'_> {
    Command {
        instruction: 0xCB,
        p1: 0x3F,
        p2: 0xFF,
        data,
        answers,
    }
}

fn run(mut script: Script, command: Command<'_>) -> (String, u16) {
    let answer = send(&mut script, command).unwrap();
    assert!(script.finished(), "commands missing");
    (hex::encode(&*answer.data), answer.status.word())
}

#[test]
fn le_is_sent_where_the_protocol_has_it() {
    let data = [0x5C, 0x01, 0x7E];
    for (script, command) in [
        // case 1, 3: no answer data
        (
            Script::new(&[("00CB3FFF", "9000")]),
            get_data(&[], Answers::Status),
        ),
        (
            Script::new(&[("00CB3FFF035C017E", "9000")]),
            get_data(&data, Answers::Status),
        ),
        // case 2
        (
            Script::new(&[("00CB3FFF00", "9000")]),
            get_data(&[], Answers::Data),
        ),
        // case 4: only T=1 has both in one APDU
        (
            Script::new(&[("00CB3FFF035C017E", "9000")]),
            get_data(&data, Answers::Data),
        ),
        (
            Script::new(&[("00CB3FFF035C017E00", "9000")]).t1(),
            get_data(&data, Answers::Data),
        ),
    ] {
        assert_eq!(run(script, command), (String::new(), 0x9000));
    }
}

#[test]
fn long_data_is_chained_and_a_refused_part_ends_it() {
    let data = vec![0xAA; 600];
    let part = "AA".repeat(255);
    let steps = [
        (format!("10CB3FFFFF{part}"), "9000"),
        (format!("10CB3FFFFF{part}"), "9000"),
        (format!("00CB3FFF5A{}", "AA".repeat(90)), "9000"),
    ];
    let steps: Vec<_> = steps.iter().map(|(c, a)| (c.as_str(), *a)).collect();
    let command = get_data(&data, Answers::Status);
    assert_eq!(run(Script::new(&steps), command).1, 0x9000);
    let refused = [steps[0], (steps[1].0, "6884")];
    assert_eq!(run(Script::new(&refused), command).1, 0x6884);
    // Exactly one part is not chained.
    let one = format!("00CB3FFFFF{part}");
    let command = get_data(&data[..255], Answers::Status);
    assert_eq!(run(Script::new(&[(&one, "9000")]), command).1, 0x9000);
}

#[test]
fn a_card_that_cannot_chain_gets_one_extended_command() {
    let data = vec![0xAA; 300];
    let (part, all) = ("AA".repeat(255), "AA".repeat(300));
    let chained = format!("10CB3FFFFF{part}");
    let extended = format!("00CB3FFF00012C{all}");
    for refusal in ["6884", "6E00"] {
        let steps = [(chained.as_str(), refusal), (extended.as_str(), "9000")];
        let script = Script::new(&steps).t1();
        assert_eq!(run(script, get_data(&data, Answers::Status)).1, 0x9000);
        let answered = format!("{extended}0000");
        let steps = [(chained.as_str(), refusal), (answered.as_str(), "BB 9000")];
        let script = Script::new(&steps).t1();
        let answer = run(script, get_data(&data, Answers::Data));
        assert_eq!(answer, ("bb".into(), 0x9000));
    }
    // T=0 has no extended APDUs, and other refusals are meant.
    let t0 = Script::new(&[(&chained, "6884")]);
    assert_eq!(run(t0, get_data(&data, Answers::Status)).1, 0x6884);
    let meant = Script::new(&[(&chained, "6982")]).t1();
    assert_eq!(run(meant, get_data(&data, Answers::Status)).1, 0x6982);
    // A chain that broke later was perhaps half done.
    let data = vec![0xAA; 600];
    let late = Script::new(&[(&chained, "9000"), (&chained, "6884")]).t1();
    assert_eq!(run(late, get_data(&data, Answers::Status)).1, 0x6884);
}

#[test]
fn a_command_without_answer_data_is_never_sent_twice() {
    let script = Script::new(&[("00CB3FFF0101", "6C08")]);
    assert_eq!(run(script, get_data(&[1], Answers::Status)).1, 0x6C08);
}

#[test]
fn parts_of_an_answer_are_joined() {
    let command = get_data(&[1], Answers::Data);
    let script = Script::new(&[
        ("00CB3FFF0101", "AABB 6103"),
        ("00C0000003", "CC 6C02"),
        ("00C0000002", "DDEE 6100"),
        ("00C0000000", "FF 9000"),
    ]);
    // What comes with 6Cxx is not data.
    assert_eq!(run(script, command), ("aabbddeeff".into(), 0x9000));
    let again = Script::new(&[("00CB3FFF0101", "6C05"), ("00CB3FFF010105", "AA 9000")]);
    assert_eq!(run(again, command), ("aa".into(), 0x9000));
    let refused = Script::new(&[("*", "AA 6110"), ("00C0000010", "6A82")]);
    assert_eq!(run(refused, command), ("aa".into(), 0x6A82));
}

#[test]
fn a_card_that_never_ends_is_left() {
    for answer in ["6100", "AA6101", "6C05"] {
        let result = send(
            &mut Same(hex::decode(answer).unwrap()),
            get_data(&[], Answers::Data),
        );
        // 6C05 twice is a refusal, the others are endless.
        match result {
            Ok(answer) => assert_eq!(answer.status.word(), 0x6C05),
            Err(err) => assert!(matches!(err, ApduError::Endless), "{err}"),
        }
    }
    for length in [ANSWER_BYTES + 1, 60_000, 65_536, 1 << 20] {
        let long = [vec![0; length], vec![0x90, 0]].concat();
        assert!(matches!(
            send(&mut Same(long), get_data(&[], Answers::Data)),
            Err(ApduError::Endless)
        ));
    }
    for short in [vec![], vec![0x90]] {
        assert!(matches!(
            send(&mut Same(short), get_data(&[], Answers::Data)),
            Err(ApduError::Short(0 | 1))
        ));
    }
}

#[test]
fn a_removed_card_is_recognised_through_the_chain() {
    let command = get_data(&[], Answers::Data);
    let err = send(&mut Script::new(&[]), command).err().unwrap();
    assert!(was_removed(&err));
    let card = crate::CardError::apdu("read")(err);
    assert!(was_removed(&card));
    assert!(was_removed(&crate::PinError::Card(card)));
    assert!(!was_removed(&crate::PinError::Blocked));
}

#[test]
fn tlv_is_read_as_written() {
    for (hex, tag, value, rest) in [
        ("5301AA", 0x53, "aa", ""),
        ("5300BB", 0x53, "", "bb"),
        ("7F490286007F", 0x7F49, "8600", "7f"),
        ("5FC10B0101", 0x5F_C10B, "01", ""),
        ("53810155", 0x53, "55", ""),
        ("538200015566", 0x53, "55", "66"),
        ("5383000001AA", 0x53, "aa", ""),
    ] {
        let bytes = hex::decode(hex).unwrap();
        let (tlv, left) = take(&bytes).unwrap();
        assert_eq!(
            (tlv.tag, hex::encode(tlv.value)),
            (tag, value.into()),
            "{hex}"
        );
        assert_eq!(hex::encode(left), rest);
    }
}

#[test]
fn what_is_not_tlv_is_refused() {
    for (hex, error) in [
        ("", TlvError::Truncated(1)),
        ("53", TlvError::Truncated(1)),
        ("5302AA", TlvError::Truncated(1)),
        ("5380AA0000", TlvError::Length),
        ("53FF", TlvError::Length),
        ("5384FFFFFFFF", TlvError::Length),
        ("5383FFFFFF", TlvError::Truncated(0xFF_FFFF)),
        ("5382FF", TlvError::Truncated(1)),
        ("5FC1", TlvError::Truncated(1)),
        ("5FC1C10B00", TlvError::LongTag),
    ] {
        assert_eq!(take(&hex::decode(hex).unwrap()), Err(error), "{hex}");
    }
}

proptest! {
    #[test]
    fn written_tlv_reads_back(tag in prop_oneof![Just(0x53), Just(0x7F49), Just(0x5F_C10B)],
                              value in prop::collection::vec(any::<u8>(), 0..700)) {
        let whole = put(tag, &[&value]);
        let expected = Tlv { tag, value: &value, whole: &whole };
        prop_assert_eq!(take(&whole), Ok((expected, &[][..])));
        let two = [put(0x01, &[b"x"]), whole.clone()].concat();
        prop_assert_eq!(find(&two, tag), Ok(Some(&value[..])));
    }

    #[test]
    fn no_bytes_panic_the_reader_of_tlv(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = find(&bytes, 0x70);
        let _ = crate::piv::certificate::spki(&bytes);
        let _ = crate::piv::certificate::spki_of_object(&bytes);
    }

    #[test]
    fn no_answer_panics_the_sender(answer in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = send(&mut Same(answer), get_data(&[1, 2, 3], Answers::Data));
    }

    #[test]
    fn every_length_of_data_arrives_whole(length in 0_usize..2000) {
        struct Collect(Vec<u8>);
        impl Transport for Collect {
            fn transmit(&mut self, apdu: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransportError> {
                assert!(apdu.len() <= 261);
                self.0.extend_from_slice(apdu.get(5..).unwrap_or_default());
                Ok(Zeroizing::new(vec![0x90, 0]))
            }
            fn power_cycle(&mut self) -> Result<(), TransportError> { Ok(()) }
            fn protocol(&self) -> Protocol { Protocol::T0 }
        }
        let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut card = Collect(Vec::new());
        send(&mut card, get_data(&data, Answers::Status)).unwrap();
        prop_assert_eq!(card.0, data);
    }
}
