package faultfs

import (
	"context"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or a directory.
type node struct {
	fs.LoopbackNode

	fs *FS
}

// WrapChild makes what is found below a node of ours.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, fs: n.fs}
}

// Open gives the file a handle that can fail.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	inner, flags, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	h, errno := newHandle(inner, n.fs, n.EmbeddedInode())
	return h, flags, errno
}

// Create gives the new file a handle that can fail.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, inner, flags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	h, errno := newHandle(inner, n.fs, child)
	return child, h, flags, errno
}

// Rename fails if it is told to.
func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to := parent.EmbeddedInode()
	fault := n.fs.meet(Rename, path.Join(to.Path(to.Root()), newName))
	fault.wait()
	if fault.Error != 0 {
		return fault.Error
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
}

// handle is an open file.
type handle struct {
	*fs.LoopbackFile

	fs    *FS
	inode *fs.Inode
}

func newHandle(inner fs.FileHandle, f *FS, inode *fs.Inode) (*handle, syscall.Errno) {
	file, ok := inner.(*fs.LoopbackFile)
	if !ok {
		return nil, syscall.EIO
	}
	return &handle{LoopbackFile: file, fs: f, inode: inode}, 0
}

// meet returns the fault of a call, after the time that it takes. A file that was renamed has its new name.
func (h *handle) meet(call Call) Fault {
	fault := h.fs.meet(call, h.inode.Path(h.inode.Root()))
	fault.wait()
	return fault
}

// PassthroughFd refuses to let the kernel go straight to the backing file, where no fault would be met.
func (h *handle) PassthroughFd() (int, bool) { return -1, false }

// Fsync flushes, or fails.
func (h *handle) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if fault := h.meet(Sync); fault.Error != 0 {
		return fault.Error
	}
	return h.LoopbackFile.Fsync(ctx, flags)
}

// Write writes all, or a part of it and fails.
func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	fault := h.meet(Write)
	if fault.Error == 0 {
		return h.LoopbackFile.Write(ctx, data, off)
	}
	if fault.Torn > 0 {
		if _, errno := h.LoopbackFile.Write(ctx, data[:min(fault.Torn, len(data))], off); errno != 0 {
			return 0, errno
		}
	}
	return 0, fault.Error
}

// Read reads what is there, or something else, or fails.
func (h *handle) Read(ctx context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	fault := h.meet(Read)
	if fault.Error != 0 {
		return nil, fault.Error
	}
	result, errno := h.LoopbackFile.Read(ctx, buf, off)
	if errno != 0 || fault.Flip == 0 {
		return result, errno
	}
	data, status := result.Bytes(buf)
	if status != fuse.OK {
		return nil, syscall.Errno(status)
	}
	if i := fault.Flip - off; i >= 0 && i < int64(len(data)) {
		data[i] ^= 1
	}
	return fuse.ReadResultData(data), 0
}
