//! Discord: a session that is resumed where Discord says, and begun anew where it is over.

use trunkline_tests::harness::discord::{Discord, Door};

use super::site::Site;

const SUPPORT: &str = "t0ken-support";
const GAMES: &str = "t0ken-games";
const IDENTIFY: (Door, &str) = (Door::Gateway, "identify");
const RESUME: (Door, &str) = (Door::Resume, "resume");

fn account(discord: &Discord, secret: &str) -> String {
    format!(
        "bot_token_env = {secret:?}\napi = {:?}\ngateway = {:?}\n",
        discord.api(),
        discord.gateway()
    )
}

fn start(discord: &Discord, games: &str) -> Site {
    Site::start(
        "discord",
        &[
            ("support", account(discord, "DISCORD_SUPPORT")),
            ("games", account(discord, "DISCORD_GAMES")),
        ],
        &[("DISCORD_SUPPORT", SUPPORT), ("DISCORD_GAMES", games)],
    )
}

/// Proves X1 (live, Discord): the scaffold's two bots receive and send under a real daemon, each what is its own, and
/// stop cleanly. Asked to, cut off, killed or stopped, a bot resumes its session at the address that it was given, and
/// misses nothing; when the session is over, it begins another one at the first address.
#[test]
fn a_session_is_resumed_where_discord_says() {
    let discord = Discord::start(&[SUPPORT, GAMES]);
    let mut site = start(&discord, GAMES);
    discord.connected(SUPPORT);
    discord.connected(GAMES);
    let mut expected = Vec::new();
    let mut write = |text: &str| {
        expected.push(text.to_owned());
        discord.write(SUPPORT, "7", "2", text);
    };
    write("hi");
    let came = site.expect_inbound("support", "hi");
    assert_eq!(came.payload["sender"]["id"], "2");
    discord.write(GAMES, "7", "2", "to games");
    site.expect_inbound("games", "to games");
    discord.flood(SUPPORT, 0.6);
    let id = site.deliver("support", "7", "hello");
    assert_eq!(id, discord.made(SUPPORT, 1)[0].id.as_str());
    site.deliver("games", "8", "from games");

    // The beats go on, and one comes when it is asked for.
    let beats = discord.beats_so_far(SUPPORT);
    discord.ask_for_beat(SUPPORT);
    discord.beats(SUPPORT, beats + 2);

    discord.reconnect(SUPPORT);
    write("while it connects again");
    discord.logins(SUPPORT, 2);
    discord.cut(SUPPORT);
    write("while it is cut off");
    discord.logins(SUPPORT, 3);
    site.expect_inbound("support", "while it is cut off");

    site.kill();
    discord.gone(SUPPORT);
    write("while the daemon is dead");
    site.start_again();
    site.expect_inbound("support", "while the daemon is dead");
    assert_eq!(
        discord.logins(SUPPORT, 4),
        [IDENTIFY, RESUME, RESUME, RESUME]
    );

    discord.invalidate(SUPPORT, false);
    assert_eq!(discord.logins(SUPPORT, 5)[4], IDENTIFY);
    discord.connected(SUPPORT);
    write("in the new session");
    site.expect_inbound("support", "in the new session");
    assert_eq!(site.inbound("support"), expected);
    assert_eq!(site.inbound("games"), ["to games"]);
    assert_eq!(discord.made(GAMES, 1)[0].content, "from games");
    assert_eq!(discord.made(SUPPORT, 1).len(), 1);
    site.stop();
}

/// A token that Discord does not know stops that bot for good, and it alone.
#[test]
fn a_bad_token_is_not_tried_again() {
    let discord = Discord::start(&[SUPPORT]);
    let mut site = start(&discord, "wrong");
    let failed = site.expect_state("games", "failed");
    assert!(failed.payload.to_string().contains("4004"), "{failed:?}");
    discord.connected(SUPPORT);
    discord.write(SUPPORT, "7", "2", "hi");
    site.expect_inbound("support", "hi");
    site.stop();
}
