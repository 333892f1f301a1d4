-- Who may store a position. Each claim of a partition raises its epoch, and a transaction that names an older one fails, so that
-- of two owners only the later one commits. A partition that was claimed and never stored has no offset.

ALTER TABLE positions ADD COLUMN epoch bigint NOT NULL DEFAULT 0;
ALTER TABLE positions ALTER COLUMN "offset" DROP NOT NULL;
