//! What a policy file may not say, and what its author is told.

use meshd_policy::{Actor, MAX_PROBLEMS, Policy, Role, Topology, User, check};

fn errors(text: &str) -> Vec<String> {
    match Policy::parse(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(ToString::to_string).collect(),
    }
}

/// A file with this section besides a tag and a group.
fn with(section: &str) -> String {
    format!(
        "{{\n\"groups\": {{\"group:dev\": [\"ada@x.com\"]}},\n\
         \"tagOwners\": {{\"tag:web\": []}},\n\"hosts\": {{\"srv\": \"10.0.0.1\"}},\n{section}}}"
    )
}

/// An SSH rule with one field replaced or added.
fn ssh(field: &str, value: &str) -> String {
    let mut rule = vec![
        ("action", "\"accept\""),
        ("src", "[\"ada@x.com\"]"),
        ("dst", "[\"tag:web\"]"),
        ("users", "[\"root\"]"),
    ];
    rule.retain(|(name, _)| *name != field);
    rule.push((field, value));
    let fields = rule
        .iter()
        .map(|(name, value)| format!("{name:?}: {value}"));
    with(&format!(
        "\"ssh\": [{{{}}}]",
        fields.collect::<Vec<_>>().join(", ")
    ))
}

fn only_error(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:?}\n{text}");
    errors[0].clone()
}

#[test]
fn several_errors_are_told_at_once_in_file_order() {
    let text = "{\n  // comment\n  \"acls\": [{\"action\": \"deny\", \"src\": [\"*\"], \"dst\": \
                [\"tag:a:22\"]}],\n  \"ssh\": [\n    {\n      \"action\": \"accept\",\n      \
                \"src\": [\"ada@x.com\"],\n      \"dst\": [\"srv\"],\n      \"users\": [\"*\"],\n      \
                \"chekPeriod\": \"1h\",\n    },\n  ],\n  \"groups\": {\"group:a\": [\"group:b\"]},\n}";
    assert_eq!(
        errors(text),
        [
            "line 3, column 23: acls[0].action: action=\"deny\" is not supported; write \
             \"accept\": what no rule accepts is denied",
            "line 3, column 53: acls[0].dst[0]: dst=\"tag:a\": tag not found: \"tag:a\"; define it \
             in tagOwners",
            "line 8, column 15: ssh[0].dst[0]: invalid dst \"srv\"; SSH rules name nodes by tag, \
             not by address",
            "line 9, column 17: ssh[0].users[0]: user \"*\" is not valid; write account names, \
             root, autogroup:nonroot or localpart:*@DOMAIN",
            "line 10, column 7: ssh[0].chekPeriod: unknown field: \"chekPeriod\"; did you mean \
             \"checkPeriod\"?",
            "line 13, column 26: groups[\"group:a\"][0]: groups[\"group:a\"]: \"group:b\": group \
             members cannot be recursive; list the users of that group here",
        ]
    );
}

#[test]
fn names_that_are_nearly_right_are_suggested() {
    for (text, suggestion) in [
        (with("\"grnats\": []"), "did you mean \"grants\"?"),
        (ssh("dst", "[\"tag:wbe\"]"), "did you mean \"tag:web\"?"),
        (ssh("src", "[\"group:dve\"]"), "did you mean \"group:dev\"?"),
        (
            ssh("src", "[\"autogroup:memebr\"]"),
            "did you mean \"autogroup:member\"?",
        ),
        (
            ssh("users", "[\"autogroup:nonrot\"]"),
            "did you mean \"autogroup:nonroot\"?",
        ),
        (ssh("forwarding", "\"locl\""), "did you mean \"local\"?"),
    ] {
        assert!(
            only_error(&text).ends_with(suggestion),
            "{}",
            only_error(&text)
        );
    }
}

#[test]
fn each_fault_of_an_ssh_rule_is_named() {
    for (field, value, message) in [
        ("action", "\"\"", "action must be specified"),
        ("action", "\"deny\"", "\"deny\" is not a valid action"),
        ("action", "\"Accept\"", "\"Accept\" is not a valid action"),
        ("users", "[]", "users must be specified"),
        ("users", "null", "users must be specified"),
        ("users", "[\"\"]", "user \"\" is not valid"),
        ("users", "[\"-i\"]", "user \"-i\" is not valid"),
        ("users", "[\"0\"]", "user \"0\" is not valid"),
        (
            "users",
            "[\"localpart:*@\"]",
            "user \"localpart:*@\" is not valid",
        ),
        (
            "users",
            "[\"group:dev\"]",
            "user \"group:dev\" is not valid",
        ),
        ("users", "[1]", "a number stands where a string must be"),
        ("acceptEnv", "[\" \"]", "acceptEnv values cannot be empty"),
        ("dst", "[\"*\"]", "invalid dst \"*\""),
        ("dst", "[\"10.0.0.1\"]", "invalid dst \"10.0.0.1\""),
        ("dst", "[\"group:dev\"]", "invalid dst \"group:dev\""),
        (
            "dst",
            "[\"autogroup:member\"]",
            "invalid dst \"autogroup:member\"",
        ),
        (
            "dst",
            "[\"bob@x.com\"]",
            "users in dst are only allowed from the same user",
        ),
        ("src", "[\"*\"]", "invalid src \"*\""),
        ("src", "[\"srv\"]", "invalid src \"srv\""),
        (
            "srcPosture",
            "[\"posture:x\"]",
            "meshd has no device postures",
        ),
        (
            "recorder",
            "[\"tag:rec\"]",
            "recorder \"tag:rec\": tag not found",
        ),
        (
            "enforceRecorder",
            "\"yes\"",
            "a string stands where true or false must be",
        ),
        ("permitOpen", "[\"db1\"]", "\"db1\" is no host and port"),
        ("permitListen", "[\"x:0\"]", "\"x:0\" is no host and port"),
        ("command", "\"\"", "the command is empty"),
        (
            "sessionDuration",
            "\"0s\"",
            "sessionDuration \"0s\" is no duration",
        ),
        (
            "checkPeriod",
            "\"1h\"",
            "checkPeriod means nothing where action is accept",
        ),
    ] {
        let error = only_error(&ssh(field, value));
        assert!(error.contains(message), "{field} {value}: {error}");
        let path = format!("ssh[0].{field}");
        assert!(error.contains(&path), "{field} {value}: {error}");
    }
}

#[test]
fn check_periods_have_bounds() {
    let rule = |period: &str| {
        with(&format!(
            "\"ssh\": [{{\"action\": \"check\", \"src\": [\"ada@x.com\"], \"dst\": \
             [\"tag:web\"], \"users\": [\"root\"], \"checkPeriod\": {period:?}}}]"
        ))
    };
    for good in ["always", "0s", "30s", "168h", " 12h "] {
        assert_eq!(errors(&rule(good)), Vec::<String>::new(), "{good}");
    }
    for (period, message) in [
        ("abc", "time: invalid duration \"abc\""),
        ("-1m", "checkPeriod -1m0s must be a positive duration"),
        ("168h0m1s", "checkPeriod 168h0m1s is above the max (168h)"),
    ] {
        assert!(only_error(&rule(period)).contains(message));
    }
}

#[test]
fn nobody_enters_the_device_of_another() {
    let rule = |action: &str, src: &str, dst: &str| {
        with(&format!(
            "\"ssh\": [{{\"action\": {action:?}, \"src\": {src}, \"dst\": {dst}, \"users\": \
             [\"root\"]}}]"
        ))
    };
    for (src, dst) in [
        (
            "[\"ada@x.com\"]",
            "[\"autogroup:self\", \"ada@x.com\", \"tag:web\"]",
        ),
        ("[\"autogroup:member\"]", "[\"autogroup:self\"]"),
        ("[\"tag:web\"]", "[\"tag:web\", \"autogroup:tagged\"]"),
        ("[\"group:dev\"]", "[\"autogroup:tagged\"]"),
    ] {
        assert_eq!(
            errors(&rule("accept", src, dst)),
            Vec::<String>::new(),
            "{src} {dst}"
        );
    }
    for (action, src, dst, message) in [
        (
            "accept",
            "[\"tag:web\"]",
            "[\"autogroup:self\"]",
            "src \"tag:web\" cannot be used with dst \"autogroup:self\"",
        ),
        (
            "accept",
            "[\"ada@x.com\", \"bob@x.com\"]",
            "[\"ada@x.com\"]",
            "users in dst are only allowed from the same user",
        ),
        (
            "check",
            "[\"tag:web\"]",
            "[\"tag:web\"]",
            "src \"tag:web\" has no user who could pass a check",
        ),
        (
            "check",
            "[\"group:dev\", \"tag:web\"]",
            "[\"tag:web\"]",
            "src \"tag:web\" has no user who could pass a check",
        ),
        (
            "check",
            "[\"autogroup:tagged\"]",
            "[\"tag:web\"]",
            "src \"autogroup:tagged\" has no user who could pass a check",
        ),
    ] {
        let error = only_error(&rule(action, src, dst));
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn each_fault_of_a_network_rule_is_named() {
    for (section, message) in [
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"]}]",
            "ip and app can not both be empty",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"0.0.0.0/0\"], \"ip\": [\"*\"]}]",
            "to allow all IP addresses, use \"*\" or \"autogroup:internet\"",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"autogroup:self\"], \"ip\": [\"*\"]}]",
            "autogroup:self can only be used with users, groups, or supported autogroups",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"icmp\"]}]",
            "port range \"icmp\": invalid first integer",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"0\"]}]",
            "port range \"0\": first port must be >0, or use '*' for wildcard",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"icmp:22\"]}]",
            "icmp has no ports",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"], \"via\": [\"srv\"]}]",
            "via can only be a tag",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"], \"via\": \
             [\"tag:no\"]}]",
            "tag \"tag:no\" not found",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"], \"via\": \
             [\"tag:web\"]}]",
            "meshd does not choose among routers",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"app\": {\"cap\": [{}]}}]",
            "capability name must have the form {domain}/{path}",
        ),
        (
            "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"autogroup:danger-all\"], \"ip\": \
             [\"*\"]}]",
            "cannot use autogroup:danger-all as a dst",
        ),
        (
            "\"acls\": [{\"action\": \"accept\", \"src\": [\"autogroup:self\"], \"dst\": \
             [\"*:*\"]}]",
            "\"autogroup:self\" not valid on the src side of a rule",
        ),
        (
            "\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"autogroup:self\"]}]",
            "dst=\"autogroup:self\": port range \"self\": invalid first integer",
        ),
        (
            "\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"fd7a::1:22\"]}]",
            "dst=\"fd7a::1:22\": no port",
        ),
        (
            "\"acls\": [{\"action\": \"accept\", \"src\": [\"tag:no\"], \"dst\": [\"*:*\"]}]",
            "src=tag not found: \"tag:no\"",
        ),
        ("\"acls\": null", "null stands where a list must be"),
        (
            "\"defaultSrcPosture\": [\"posture:x\"]",
            "meshd has no device postures",
        ),
        (
            "\"ipsets\": {\"ipset:a\": [\"add ipset:a\"]}",
            "needs itself",
        ),
        (
            "\"ipsets\": {\"ipset:a\": [\"tag:web\"]}",
            "is no line of an IP set",
        ),
    ] {
        let error = only_error(&with(section));
        assert!(error.contains(message), "{section}: {error}");
    }
}

#[test]
fn definitions_are_checked() {
    for (text, message) in [
        (
            "{\"tagOwners\": {\"tag:сервер\": []}}",
            "tagOwners[\"tag:сервер\"]: tag names must start with a letter, after 'tag:'",
        ),
        ("{\"groups\": {\"dev\": []}}", "write \"group:dev\""),
        (
            "{\"groups\": {\"group:a\": [\"tag:b\"]}}",
            "\"tag:b\" is not a user",
        ),
        ("{\"hosts\": {\"a@b\": \"10.0.0.1\"}}", "is no host name"),
        (
            "{\"hosts\": {\"a\": \"10.0.0.300\"}}",
            "\"10.0.0.300\": invalid address",
        ),
        (
            "{\"groups\": {\"group:a\": [], \"group:a\": []}}",
            "duplicate key: \"group:a\"",
        ),
        ("{\"ssh\": [], \"SSH\": []}", "duplicate key: \"SSH\""),
        (
            "{\"autoApprovers\": {\"routes\": {\"x\": []}}}",
            "\"x\": invalid prefix",
        ),
        ("[]", "a list stands where an object must be"),
    ] {
        let error = only_error(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn old_names_and_other_cases_of_fields_are_understood() {
    let text = with(
        "\"ACLs\": [{\"Action\": \"accept\", \"Users\": [\"group:dev\"], \"Ports\": \
         [\"tag:web:22\"]}],\n\"Tests\": [{\"user\": \"ada@x.com\", \"allow\": [\"tag:web:22\"]}]",
    );
    let policy = Policy::parse(&text).expect("a policy");
    let topology = Topology {
        users: vec![User {
            login: "ada@x.com".to_owned(),
            role: Role::Member,
        }],
        ..Topology::default()
    };
    let report = policy.run_tests(&topology);
    assert!(report.is_success() && report.passed == 1, "{report}");
}

#[test]
fn the_number_of_errors_told_is_bounded() {
    let rules = vec!["{\"action\": \"deny\"}"; 10 * MAX_PROBLEMS].join(",");
    assert_eq!(
        errors(&with(&format!("\"acls\": [{rules}]"))).len(),
        MAX_PROBLEMS
    );
}

#[test]
fn domains_must_belong_to_the_mesh() {
    let text = ssh("users", "[\"localpart:*@y.org\"]");
    let topology = |domains: &[&str]| Topology {
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        ..Topology::default()
    };
    assert!(check(&text, &topology(&["y.org"])).is_success());
    let report = check(&text, &topology(&["x.com"]));
    assert_eq!(
        report.errors[0].message,
        "y.org is not associated with this Tailnet and cannot be used in user:*@<domain> \
         expressions"
    );
    assert_eq!(report.errors[0].path, "ssh[0].users[0]");
    let none = check(&text, &topology(&[])).to_string();
    assert!(none.contains("has no domain of its own yet"), "{none}");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let text = "{\"nodeAttrs\": [], \"postures\": {\"posture:a\": []}, \"groups\": {\"group:a\": \
                [\"eve@x.com\"]}}";
    let report = check(text, &Topology::default());
    assert!(report.is_success(), "{report}");
    let messages: Vec<&str> = report.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "nodeAttrs has no effect in meshd",
            "meshd has no device postures: no rule can use one",
            "\"eve@x.com\" is no user of this mesh (yet)",
        ]
    );
}

#[test]
fn tags_are_given_by_their_owners() {
    let text = "{\"groups\": {\"group:ops\": [\"ada@x.com\"]}, \"tagOwners\": {\"tag:a\": \
                [\"group:ops\", \"tag:b\"], \"tag:b\": [\"tag:a\"], \"tag:c\": []}}";
    let policy = Policy::parse(text).expect("a policy");
    let user = |login: &str, role| User {
        login: login.to_owned(),
        role,
    };
    let (ada, admin) = (
        user("ada@x.com", Role::Member),
        user("root@x.com", Role::Admin),
    );
    let owner = user("boss@x.com", Role::Owner);
    assert!(policy.defines_tag("tag:a") && !policy.defines_tag("tag:d"));
    assert!(policy.may_tag(Actor::User(&ada), "tag:a"));
    assert!(!policy.may_tag(Actor::User(&ada), "tag:b"));
    assert!(!policy.may_tag(Actor::User(&ada), "tag:c"));
    assert!(policy.may_tag(Actor::User(&admin), "tag:c"));
    assert!(!policy.may_tag(Actor::User(&admin), "tag:a"));
    assert!(policy.may_tag(Actor::User(&owner), "tag:a"));
    assert!(!policy.may_tag(Actor::User(&owner), "tag:d"));
    let tags = ["tag:b".to_owned()];
    assert!(policy.may_tag(Actor::Tags(&tags), "tag:a"));
    assert!(!policy.may_tag(Actor::Tags(&tags), "tag:c"));
}
