"""The tables of ``run.db``. Columns that hold JSON say so; everything is readable with sqlite-utils or Datasette."""

from __future__ import annotations

JOB_COUNTS = """
    CREATE TABLE job_counts (
        job_id INTEGER PRIMARY KEY REFERENCES jobs,
        n_scored INTEGER NOT NULL,
        n_errors INTEGER NOT NULL,
        n_skipped INTEGER NOT NULL,
        n_truncated INTEGER NOT NULL,
        n_refused INTEGER NOT NULL,
        n_dropped INTEGER NOT NULL,
        requests INTEGER NOT NULL,                     -- distinct ones that the job asked first
        cache_hits INTEGER NOT NULL,                   -- of these
        input_tokens INTEGER NOT NULL,                 -- here and below: of answers that were not in the cache
        cached_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL
    )"""
OLDEST_READ = 3
"""A run of this version, or of a later one, can be read as it is."""

MIGRATIONS = (
    """
    -- facts of the run, JSON values: status, created, finished, manifest_hash, plan_hash, command, pid, host …
    CREATE TABLE run (name TEXT PRIMARY KEY, value TEXT NOT NULL);

    CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        backend TEXT NOT NULL,
        model TEXT NOT NULL,
        fingerprint TEXT NOT NULL DEFAULT '',
        facts TEXT NOT NULL DEFAULT '{}',              -- JSON: what the fingerprint was made of
        status TEXT NOT NULL DEFAULT 'pending',        -- pending, running, done, failed
        error TEXT                                     -- JSON: message, hint
    );

    -- one model x one task setting
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        model_id INTEGER NOT NULL REFERENCES models,
        label TEXT NOT NULL,                           -- unique within the model; the key in results
        task TEXT NOT NULL,
        alias TEXT NOT NULL,
        version TEXT NOT NULL,                         -- JSON
        num_fewshot INTEGER NOT NULL,
        output_type TEXT NOT NULL,
        setting TEXT NOT NULL,                         -- JSON: how it was asked for
        config TEXT NOT NULL,                          -- JSON: the task's resolved configuration
        scoring TEXT NOT NULL,                         -- JSON: metrics, filters and what they depend on
        task_hash TEXT NOT NULL,
        datasets TEXT NOT NULL,                        -- JSON: split -> fingerprint
        prompt_hash TEXT,
        n_docs_total INTEGER NOT NULL,                 -- docs of the evaluated split before any limit
        n_docs INTEGER NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',        -- pending, rendered, looked_up, answered, scored, failed
        error TEXT,                                    -- JSON: message, hint
        UNIQUE (model_id, label)
    );

    CREATE TABLE groups (
        model_id INTEGER NOT NULL REFERENCES models,
        label TEXT NOT NULL,
        position INTEGER NOT NULL,
        spec TEXT NOT NULL,                            -- JSON: alias, version, children, leaves, aggregates
        PRIMARY KEY (model_id, label)
    );

    -- prompts, each distinct one once
    CREATE TABLE texts (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body TEXT NOT NULL);

    CREATE TABLE samples (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs,
        doc_id INTEGER NOT NULL,
        doc TEXT NOT NULL,                             -- JSON
        target TEXT NOT NULL,                          -- JSON
        text TEXT NOT NULL,                            -- JSON: doc_to_text where it is an index, else null
        choices TEXT NOT NULL,                         -- JSON list, or null
        status TEXT NOT NULL DEFAULT 'pending',        -- pending, scored, skipped, error
        correct INTEGER,                               -- 1, 0, or null where the metric is not right-or-wrong
        truncated INTEGER NOT NULL DEFAULT 0,          -- 1: the answer was cut off by the token limit
        dropped INTEGER NOT NULL DEFAULT 0,            -- prompt tokens cut away because the prompt was too long
        no_match INTEGER NOT NULL DEFAULT 0,           -- 1: a filter found no answer in the output
        error TEXT,                                    -- JSON: kind, message
        UNIQUE (job_id, doc_id)
    );
    CREATE INDEX samples_by_outcome ON samples (job_id, status, correct);

    CREATE TABLE requests (
        sample_id INTEGER NOT NULL REFERENCES samples,
        position INTEGER NOT NULL,                     -- which request of the doc
        repeat INTEGER NOT NULL,
        key TEXT NOT NULL,                             -- content key, also in the cache
        kind TEXT NOT NULL,
        context_id INTEGER REFERENCES texts,           -- the text, or JSON messages where is_chat
        is_chat INTEGER NOT NULL,
        continuation TEXT NOT NULL,
        generation TEXT NOT NULL,                      -- JSON
        seed INTEGER,
        PRIMARY KEY (sample_id, position, repeat)
    ) WITHOUT ROWID;
    CREATE INDEX requests_by_key ON requests (key);

    CREATE TABLE responses (
        key TEXT PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs,       -- the job that asked first
        source TEXT NOT NULL,                          -- computed, cache, error
        response TEXT NOT NULL,                        -- JSON
        created REAL NOT NULL                          -- Unix seconds
    );
    CREATE INDEX responses_by_job ON responses (job_id, source);

    CREATE TABLE scores (
        sample_id INTEGER NOT NULL REFERENCES samples,
        filter TEXT NOT NULL,
        filtered TEXT NOT NULL,                        -- JSON: the answer as the metrics saw it
        metrics TEXT NOT NULL,                         -- JSON: metric -> value of this doc
        extraction TEXT,                               -- matched, no_match, ambiguous; null where nothing is extracted
        span TEXT,                                     -- JSON [start, end) in the output
        correct INTEGER,
        UNIQUE (sample_id, filter)
    );

    CREATE TABLE metrics (
        job_id INTEGER NOT NULL REFERENCES jobs,
        position INTEGER NOT NULL,
        metric TEXT NOT NULL,
        filter TEXT NOT NULL,
        value TEXT NOT NULL,                           -- JSON
        stderr TEXT NOT NULL,                          -- JSON: a number or "N/A"
        interval TEXT,                                 -- JSON [low, high], 95%
        n INTEGER NOT NULL,
        higher_is_better INTEGER,
        PRIMARY KEY (job_id, metric, filter)
    );

    CREATE TABLE events (
        id INTEGER PRIMARY KEY, time REAL NOT NULL, level TEXT NOT NULL, event TEXT NOT NULL,
        fields TEXT NOT NULL                           -- JSON
    );
    CREATE TABLE gauges (time REAL NOT NULL, name TEXT NOT NULL, value REAL NOT NULL)
    """,
    """
    -- which corpora the docs of a job were looked for in; the same for every model
    CREATE TABLE decontamination (
        label TEXT PRIMARY KEY,                        -- of the job
        ngram INTEGER NOT NULL,                        -- words in a row that make an overlap
        docs INTEGER NOT NULL,
        short INTEGER NOT NULL                         -- docs of fewer words, which cannot overlap
    );

    -- docs that overlap with a corpus
    CREATE TABLE overlaps (
        label TEXT NOT NULL REFERENCES decontamination,
        doc_id INTEGER NOT NULL,
        ngram TEXT NOT NULL,                           -- the first n-gram of the doc that a corpus holds
        place TEXT NOT NULL,                           -- file:line of the first document that holds it
        documents INTEGER NOT NULL,                    -- how many documents hold it
        ngrams INTEGER NOT NULL,                       -- how many n-grams of the doc are in a corpus
        PRIMARY KEY (label, doc_id)
    ) WITHOUT ROWID;

    -- metrics of the clean and of the dirty docs of a job; the other columns as in metrics
    CREATE TABLE subset_metrics (
        job_id INTEGER NOT NULL REFERENCES jobs,
        subset TEXT NOT NULL,                          -- clean, dirty
        position INTEGER NOT NULL,
        metric TEXT NOT NULL,
        filter TEXT NOT NULL,
        value TEXT NOT NULL,
        stderr TEXT NOT NULL,
        interval TEXT,
        n INTEGER NOT NULL,
        higher_is_better INTEGER,
        PRIMARY KEY (job_id, subset, metric, filter)
    )
    """,
    """
    -- 1: the model, or its provider, declined to answer
    ALTER TABLE samples ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX errors ON responses (key) WHERE source = 'error'
    """,
    f"""
    -- counts of a job as it was scored; not there while it changes
    {JOB_COUNTS};

    -- holds all that a list of samples is filtered by, in the order of the list
    DROP INDEX samples_by_outcome;
    CREATE INDEX samples_listed ON samples
        (job_id, doc_id, status, correct, truncated, refused, no_match, dropped);
    CREATE INDEX scores_ambiguous ON scores (sample_id) WHERE extraction = 'ambiguous';
    CREATE INDEX gauges_by_name ON gauges (name, time, value)
    """,
)
