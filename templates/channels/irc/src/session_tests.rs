use std::time::Duration;

use super::*;

fn config() -> Config {
    Config {
        server: "irc.example".to_owned(),
        port: 6667,
        nick: "bot".to_owned(),
        channels: vec!["#A".to_owned(), "#b".to_owned()],
        password: Some("hunter2".to_owned()),
        realname: "A bot".to_owned(),
        ignore: Vec::new(),
        line_interval: Duration::ZERO,
        journal: None,
    }
}

fn tell(session: &mut Session, line: &str) -> Vec<Action> {
    session.take(&Message::parse(line.as_bytes()).unwrap())
}

fn say(line: &str) -> Action {
    Action::Say(line.to_owned())
}

/// A session whose channels are joined.
fn settled() -> Session {
    let (mut session, _) = Session::open(config());
    tell(&mut session, ":s 001 bot :Welcome");
    tell(&mut session, ":s 366 bot #a :End of NAMES list");
    let actions = tell(&mut session, ":s 366 bot #b :End of NAMES list");
    assert_eq!(actions, [Action::Settled]);
    session
}

#[test]
fn it_registers_joins_and_then_is_settled() {
    let (mut session, lines) = Session::open(config());
    assert_eq!(lines, ["PASS :hunter2", "NICK bot", "USER bot 0 * :A bot"]);
    assert_eq!(tell(&mut session, "PING :x y"), [say("PONG :x y")]);
    let actions = tell(&mut session, ":s 001 bot :Welcome");
    assert_eq!(actions, [say("JOIN #A"), say("JOIN #b")]);
    assert!(tell(&mut session, ":s 366 bot #a :End").is_empty() && !session.is_settled());
    assert_eq!(tell(&mut session, ":s 366 bot #b :End"), [Action::Settled]);
    assert!(session.is_settled());
}

#[test]
fn a_channel_that_refuses_does_not_keep_the_others_waiting_and_is_tried_again() {
    let (mut session, _) = Session::open(config());
    tell(&mut session, ":s 001 bot :Welcome");
    tell(&mut session, ":s 366 bot #a :End");
    let actions = tell(&mut session, ":s 474 bot #b :Cannot join channel (+b)");
    assert!(
        matches!(&actions[..], [Action::Note(_), Action::Settled]),
        "{actions:?}"
    );
    assert_eq!(session.look_around(), ["PING :trunkline-1", "JOIN #b"]);
}

#[test]
fn a_taken_nickname_gets_a_tail_and_is_taken_back_when_it_is_free() {
    let (mut session, _) = Session::open(config());
    let taken = ":s 433 * bot :Nickname is already in use";
    assert_eq!(tell(&mut session, taken), [say("NICK bot_")]);
    tell(&mut session, ":s 001 bot_ :Welcome");
    assert!(session.look_around().contains(&"NICK bot".to_owned()));
    assert_eq!(tell(&mut session, taken), []);
    assert_eq!(tell(&mut session, ":bot!u@h QUIT :gone"), [say("NICK bot")]);
    tell(&mut session, ":bot_!u@h NICK :bot");
    assert_eq!(session.nick(), "bot");
    let (mut session, _) = Session::open(config());
    for _ in 1..NICKS_MAX {
        tell(&mut session, taken);
    }
    assert!(matches!(
        tell(&mut session, taken)[..],
        [Action::End(End::Lost(_))]
    ));
}

#[test]
fn a_wrong_password_is_told_from_a_lost_connection() {
    for line in [
        ":s 464 * :Password incorrect",
        "ERROR :Access denied: Bad server password",
    ] {
        let (mut session, _) = Session::open(config());
        let actions = tell(&mut session, line);
        assert!(
            matches!(actions[..], [Action::End(End::Password(_))]),
            "{line}"
        );
    }
    let actions = tell(&mut settled(), "ERROR :Closing Link: Ping timeout");
    assert!(matches!(actions[..], [Action::End(End::Lost(_))]));
}

#[test]
fn a_message_is_taken_when_the_question_behind_it_is_answered() {
    let mut session = settled();
    assert_eq!(session.ask_for(7, "#A"), "PING :trunkline-1");
    assert_eq!(session.ask_for(8, "al"), "PING :trunkline-2");
    assert_eq!(session.ask_for(9, "#a"), "PING :trunkline-3");
    assert_eq!(tell(&mut session, ":s 401 bot al :No such nick"), []);
    let actions = tell(&mut session, ":s PONG s :trunkline-2");
    let refused = Action::Taken(8, Err("401 No such nick".to_owned()));
    assert_eq!(actions, [Action::Taken(7, Ok(())), refused]);
    assert_eq!(
        tell(&mut session, ":s PONG s :bot"),
        [Action::Taken(9, Ok(()))]
    );
    assert_eq!(tell(&mut session, ":s PONG s :bot"), []);
}

#[test]
fn messages_are_published_and_notices_and_own_lines_are_not() {
    let mut session = settled();
    let actions = tell(&mut session, ":al!u@h PRIVMSG #a :hi");
    assert!(matches!(actions[..], [Action::Publish(_)]));
    assert_eq!(tell(&mut session, ":al!u@h NOTICE #a :hi"), []);
    assert_eq!(tell(&mut session, ":bot!u@h PRIVMSG #a :hi"), []);
}

#[test]
fn a_kick_is_noted_and_the_channel_joined_again_later() {
    let mut session = settled();
    assert!(matches!(
        tell(&mut session, ":op!u@h KICK #A bot :out")[..],
        [Action::Note(_)]
    ));
    assert_eq!(session.look_around(), ["PING :trunkline-1", "JOIN #a"]);
    assert_eq!(tell(&mut session, ":op!u@h KICK #A al :out"), []);
}
