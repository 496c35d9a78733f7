"""What to do about each finding of a scan."""

from collections.abc import Mapping

from atom.skills.findings import Rule

FIXES: Mapping[Rule, str] = {
    Rule.SCAN_ADDRESS: "Use a name, so that people can see who it belongs to.",
    Rule.SCAN_AGENT_FILES: "Keep what the skill remembers in a file of its own.",
    Rule.SCAN_BINARY: "Leave it out, or put its source in its place.",
    Rule.SCAN_CAPABILITIES: "Compare it with what the skill is for.",
    Rule.SCAN_CLOUD_METADATA: "Have the credential given to the skill by name.",
    Rule.SCAN_COLLECTOR: "Send to a host of whoever runs this.",
    Rule.SCAN_CONCEALMENT: "Take it out: a user is told what is done for them.",
    Rule.SCAN_CREDENTIALS: "Have the one credential that is needed given to the skill by name.",
    Rule.SCAN_DECODE_RUN: "Write the program as a file that can be read.",
    Rule.SCAN_DESTRUCTIVE: "Name exactly what is to be deleted.",
    Rule.SCAN_DOWNLOAD_RUN: "Put the program into the bundle, or install a package by name and version.",
    Rule.SCAN_EXFILTRATION: "Take it out, or send only what the skill is for.",
    Rule.SCAN_HIDDEN_TEXT: "Write it where people see it, or take it out.",
    Rule.SCAN_INCOMPLETE: "Read it yourself.",
    Rule.SCAN_INJECTION: "Take it out: a skill does not stand above the instructions of the agent.",
    Rule.SCAN_LEAK: "Take it out, or say which one thing is sent to whom.",
    Rule.SCAN_OBFUSCATION: "Write it so that it can be read.",
    Rule.SCAN_PACKAGE_SOURCE: "Install from the registry that everybody uses, by name and version.",
    Rule.SCAN_PERSISTENCE: "Leave it to the person to have it started.",
    Rule.SCAN_PREREQUISITE: "Put what is needed into the bundle, or name a package of a registry.",
    Rule.SCAN_REVERSE_SHELL: "Take it out.",
    Rule.SCAN_TYPOSQUAT: "Correct the name, or make sure that this is the one that is meant.",
    Rule.SCAN_UNDECLARED: "Declare it, or do without it.",
    Rule.SCAN_UNUSED: "Take it out unless it is needed.",
}
