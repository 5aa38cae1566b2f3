"""Why a trigger was made: the events and timers of its key, and what they did to its state, up to the trigger."""
