"""The studio's pages: one module each, drawn from schemas, fed by the queue and by run folders."""
