-- Sensors that come through more than one home: none, if all messages are keyed. Every commit of one of several instances looks
-- whether there are any.
CREATE INDEX sensors_scattered ON sensors (id) WHERE home = '*';
