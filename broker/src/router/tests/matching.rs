//! Which subscriptions match a topic, remembered and forgotten at the right time.
