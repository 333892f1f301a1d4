-- The key of a message that names the sensor of readings that name none: without it they are refused again.
ALTER TABLE dead_letters ADD COLUMN message_key TEXT;
