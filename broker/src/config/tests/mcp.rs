//! Tests of `[mcp]`.

use super::*;

const SERVERS: &str = r#"
[[mcp.servers]]
name = "files"
command = ["npx", "server-files"]
env = { MODE = "quiet", KEY = { env = "FILES_KEY" } }
timeout = "30s"
exclude = ["delete_*"]
[[mcp.servers]]
name = "crm"
url = "https://crm.example.com/mcp"
token = { env = "CRM_TOKEN" }
enabled = false
[mcp.names]
search = "files.search"
search_eu = "files.search/eu"
"#;

#[test]
fn an_mcp_server_is_an_instance_whose_process_is_this_program() {
    let env = [("FILES_KEY", "s3cret-key"), ("CRM_TOKEN", "s3cret-token")];
    let loaded = load_with(SERVERS, &env, &[]);
    let shown = format!("{:?}", loaded.explained);
    assert!(!shown.contains("s3cret"), "{shown}");
    let (config, warnings) = loaded.into_result().unwrap();
    assert!(warnings.is_empty());
    assert!(!format!("{config:?}").contains("s3cret"));
    let files = config.instance("files", "default").unwrap();
    assert_eq!(
        Value::Object(files.config.clone()),
        json!({
            "command": ["npx", "server-files"],
            "env": {"MODE": "quiet"},
            "timeout_ms": 30_000,
            "exclude": ["delete_*"],
        })
    );
    assert_eq!(files.secrets["env.KEY"].expose(), "s3cret-key");
    assert_eq!(files.manifest.command[1], "__mcp");
    let crm = config.instance("crm", "default").unwrap();
    assert_eq!(crm.secrets["token"].expose(), "s3cret-token");
    assert!(!crm.enabled);
    assert_eq!(config.mcp_names["search_eu"], "files.search/eu");
}

#[test]
fn what_is_wrong_with_mcp_is_said_at_once() {
    for (text, expected) in [
        (
            "[mcp.names]\na__b = \"crm.find\"\n",
            "is not a name for MCP clients",
        ),
        ("[mcp.names]\na = \"crm\"\n", "has to name a tool"),
        (
            "[mcp.names]\na = \"crm.find\"\nb = \"crm.find\"\n",
            "has two names",
        ),
        (
            "[[mcp.servers]]\nname = \"a\"\n",
            "either a command or a url",
        ),
        (
            "[[mcp.servers]]\nname = \"a\"\nurl = \"ftp://a\"\n",
            "has to begin with https://",
        ),
        (
            "[[mcp.servers]]\nname = \"a\"\nurl = \"https://a\"\ntoken = \"s3cret\"\n",
            "is secret and stands in the file",
        ),
        (
            "[[mcp.servers]]\nname = \"a\"\nurl = \"https://a\"\nenv = { A = \"b\" }\n",
            "names no variable of a command",
        ),
        (
            "[[mcp.servers]]\nname = \"A\"\nurl = \"https://a\"\n",
            "is not a plugin id",
        ),
        (
            "[[mcp.servers]]\nname = \"a\"\nurl = \"https://a\"\n[[mcp.servers]]\nname = \"a\"\nurl = \"https://a\"\n",
            "there is another plugin or MCP server",
        ),
        ("[mcp]\nserver = 1\n", "unknown key \"server\" in [mcp]"),
    ] {
        let loaded = load(text);
        assert!(loaded.config.is_none(), "{text}");
        let said = render(&loaded.diagnostics);
        assert!(
            said.contains(expected) && !said.contains("s3cret"),
            "{text}\n{said}"
        );
    }
}
