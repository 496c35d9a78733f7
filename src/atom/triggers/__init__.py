"""What starts runs without a person: schedules, webhooks, events, other agents. By maturity it runs, asks or waits."""
